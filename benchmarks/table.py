"""What was measured, as a table."""

import os
import platform
import statistics
from dataclasses import dataclass
from typing import Any

import torch

from gptexp.runs.provenance import cpu, git
from gptexp.runtime.device import Runtime

HEADER = f"{'what':46} {'median':>8} {'':8} {'spread':>18} {'runs':>5}  target, or before"


@dataclass(frozen=True)
class Row:
    """One line, over a value of each run."""

    what: str
    values: list[float]
    unit: str = ""
    at_most: float | None = None  # the target
    more: bool = False  # is better

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        spread = f"{_number(min(self.values))}..{_number(max(self.values))}"
        line = f"{self.what:46} {_number(self.median):>8} {self.unit:8} {spread:>18}"
        line += f" {len(self.values):>5}"
        if self.at_most is not None:
            kept = "" if self.median <= self.at_most else ", MISSED"
            line += f"  at most {self.at_most:g} {self.unit}{kept}"
        return line

    def to_dict(self) -> dict[str, Any]:
        """All but the target."""
        return {
            "what": self.what.strip(),
            "unit": self.unit,
            "median": self.median,
            "low": min(self.values),
            "high": max(self.values),
            "runs": len(self.values),
        }

    def beside(self, before: dict[str, Any], commit: str) -> str:
        """The same of another commit; SLOWER where the spreads of a ratio lie apart.

        Of what has a unit nothing is said: a shared machine's speed drifts twofold within an hour.
        """
        low, high = min(self.values), max(self.values)
        apart = high < before["low"] if self.more else low > before["high"]
        worse = apart and not self.unit
        return f"  {_number(before['median'])} at {commit[:7]}{', SLOWER' if worse else ''}"


def over(above: list[float], below: list[float]) -> list[float]:
    """The ratios of what was measured in the same rounds."""
    return [a / b for a, b in zip(above, below, strict=True)]


def facts(where: Runtime) -> dict[str, Any]:
    """What numbers are taken on, and of which code."""
    found = git()
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": where.describe().partition(",")[0],  # without its threads, which vary
        "dtype": where.arithmetic,
        "commit": found.get("commit", "unknown"),
        "dirty": bool(found.get("changed")),
    }


def machine(where: Runtime) -> str:
    """One line: what the numbers were taken on."""
    threads = torch.get_num_threads()
    return f"{cpu()}, {threads} threads, torch {torch.__version__}, on {where.describe()}"


def told(facts: dict[str, Any]) -> str:
    """One line of them, without the threads, which vary from row to row."""
    commit = f"{facts['commit'][:7]}{', changed' if facts['dirty'] else ''}"
    arithmetic = f"torch {facts['torch']}, on {facts['device']}, {facts['dtype']}"
    return f"{facts['cpu']}, {facts['cores']} cores, {arithmetic}; commit {commit}"


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 20 else 3
    return f"{value:,.{digits}f}"
