"""Time the same command again over a finished sweep.

python -m benchmarks.sweep                            # 200 points
python -m benchmarks.sweep --points 1000 --runs 1
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import ROOT
from benchmarks.table import HEADER, Row, machine
from gptexp.config import from_overrides
from gptexp.experiment.identity import identify
from gptexp.experiment.run import run_experiment
from gptexp.runtime.device import Runtime

TINY = [
    "data=text",
    "logger=none",
    "model.n_layer=1",
    "model.n_head=1",
    "model.n_embd=8",
    "model.block_size=8",
    "schedule.warmup_steps=0",
    "trainer.max_steps=1",
    "trainer.sample_tokens=1",
    "trainer.device=cpu",
]
TARGET = 10.0  # seconds, for 200 points on two cores


def make(folder: Path, overrides: list[str], points: int) -> None:
    """A finished sweep over seeds in `folder`: one run is trained, the others are its copies."""
    config = from_overrides(overrides)
    first = run_experiment(config, folder / "outputs").path
    assert first is not None
    for seed in range(1, points):
        config.seed = seed
        shutil.copytree(first, identify(config, folder / "outputs").directory.path)


def again(folder: Path, overrides: list[str], points: int) -> float:
    """Seconds of the whole command, from the shell to its exit."""
    sweep = ["-m", *overrides, f"seed=range(0,{points})"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *sweep], cwd=folder, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    assert f"{points} point{'s' * (points > 1)}: {points} already done" in done.stdout, done.stdout
    return seconds


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(words)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text("to be or not to be\n" * 50)
        overrides = [*TINY, f"data.path={json.dumps(str(folder / 'text.txt'))}"]
        make(folder, overrides, given.points)
        whole = [again(folder, overrides, given.points) for _ in range(given.runs)]
        one = [again(folder, overrides, 1) for _ in range(given.runs)]
    each = [(a - b) / max(given.points - 1, 1) * 1e3 for a, b in zip(whole, one, strict=True)]
    target = TARGET if given.points == 200 else None
    rows.append(Row(f"{given.points} finished points again", whole, "s", target))
    rows.append(Row("one finished point again", one, "s"))
    rows.append(Row("each further point", each, "ms"))
    print(HEADER)
    for row in rows:
        print(row)
    print(machine(Runtime(torch.device("cpu"), torch.float32)))


if __name__ == "__main__":
    main()
