"""How long a table and a report of many runs take: `python benchmarks/runs.py [RUNS]`.

Writes synthetic run directories, those of the tests, to a temporary folder, and times the real
command in fresh processes, over a tenth of the runs and over all.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from run_directories import put, valley, write_run  # found by the lines above

COMMAND = "from gptexp.cli import main; main()"
REPEATS = 5  # of each timing, of which the median counts
EVALUATIONS = 25  # of each run
SEEDS = 5  # runs of each group


def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        few = write(folder / "few", count // 10)
        many = write(folder / "many", count)
        size = sum(path.stat().st_size for path in many.glob("*/summary.json")) / count
        print(f"{count:,} run directories, summary.json of {size:,.0f} bytes each")
        print(f"`gptexp --help`, which reads none: {seconds('--help'):.2f} s")
        for verb, *options in (
            ["table"],
            ["table", "--by", "model.n_embd,data.fraction"],
            ["table", "--format", "json"],
            ["report"],
        ):
            small, large = (seconds(verb, str(place), *options) for place in (few, many))
            each = (large - small) / (count - count // 10)
            print(
                f"{' '.join(['gptexp', verb, *options]):48} {large:.2f} s; {small:.2f} s for "
                f"{count // 10:,}; {each * 1e3:.2f} ms for one more"
            )
    finally:
        shutil.rmtree(folder)


def write(folder: Path, count: int) -> Path:
    """`count` runs that are done: a grid of sizes and fractions, SEEDS of each point."""
    for number in range(count):
        point, seed = divmod(number, SEEDS)
        run = write_run(
            folder,
            seed,
            1.5 + number / count,
            test=1.6,
            metrics=valley(1.5 + number / count, EVALUATIONS),
            params=10_000 * (1 + point // 10) ** 2,
            train_tokens=100_000 * (1 + point % 10),
            model__n_embd=64 * (1 + point // 10),
            data__fraction=(1 + point % 10) / 10,
        )
        sample = {"step": 500, "prompt": "\n", "temperature": 0.8, "top_k": None, "seed": 1}
        line = json.dumps({**sample, "text": "to be or not to be " * 25}) + "\n"
        put(run, "samples.jsonl", line * 10)
        for name in ("run.log", ".lock", "events.out.tfevents.0"):
            (run / name).touch()
        (run / "checkpoints").mkdir()
    return folder


def seconds(*arguments: str) -> float:
    """Median wall time of the command in a fresh process."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
