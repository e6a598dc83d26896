"""How many runs an hour a grid of small models yields, by how its points are trained."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import ROOT
from benchmarks.table import Row

GRIDS = {  # what is trained, and for how many steps: some seconds a point
    "micro": (("experiment=microgpt",), 1000),
    "laptop": (("model=laptop",), 100),
    "tiny": (("model=tiny", "trainer.batch_size=8"), 40),
}
CORES = os.cpu_count() or 1
WAYS = {
    "one by one, torch's threads": ("trainer.threads=null",),
    "one by one, one thread": ("trainer.threads=1",),
    f"joblib, {CORES} workers of one thread": (
        "hydra/launcher=joblib",
        f"hydra.launcher.n_jobs={CORES}",
        "trainer.threads=1",
    ),
}


def runs_an_hour(
    names: list[str], extra: list[str], points: int, rounds: int, quick: bool, folder: Path
) -> Iterator[Row]:
    """The whole command in a fresh process, its start included, the ways in turns."""
    for name in names:
        overrides, steps = GRIDS[name]
        steps = 2 if quick else steps
        yields: dict[str, list[float]] = {way: [] for way in WAYS}
        for index in range(rounds):
            for way in list(WAYS)[:: -1 if index % 2 else 1]:
                command = [*overrides, *extra, *WAYS[way], f"trainer.max_steps={steps}"]
                here = folder / f"{name}-{index}-{list(WAYS).index(way)}"
                yields[way].append(3600 * points / _seconds(command, points, steps, here))
        for way, values in yields.items():
            yield Row(f"{name}, {steps} steps: {way}", values, "runs/h", more=True)


def _seconds(overrides: list[str], points: int, steps: int, folder: Path) -> float:
    folder.mkdir()
    quiet = ["logger=none", "trainer.sample_interval=0", f"trainer.eval_interval={steps}"]
    warm = ["schedule.warmup_steps=0"]
    seeds = f"seed={','.join(map(str, range(points)))}"
    command = [sys.executable, str(ROOT / "run.py"), "-m", *quiet, *warm, *overrides, seeds]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return took
