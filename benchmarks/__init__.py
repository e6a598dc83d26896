"""What things cost, measured: `python -m benchmarks.NAME`, in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
