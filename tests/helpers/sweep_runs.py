"""Sweeps over SMALL runs, in this process or in forked children: for tests of sweeps."""

import contextlib
import os
import re
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from small_runs import ROOT, SMALL

from gptexp.training.trainer import Trainer


def small_grid(text_file: Path, *arguments: str) -> list[str]:
    """The arguments of a sweep of SMALL runs; `arguments` replace SMALL's own."""
    given = {item.partition("=")[0] for item in arguments}
    small = [*SMALL, f"data.path={text_file}"]
    return ["-m", *(item for item in small if item.partition("=")[0] not in given), *arguments]


def run_py(arguments: list[str], folder: Path, shown: Path) -> int:
    """`python run.py ...` in `folder`, for forked children; what it prints goes to `shown`."""
    os.chdir(folder)
    GlobalHydra.instance().clear()
    sys.argv = [str(ROOT / "run.py"), *arguments]
    with (
        shown.open("w") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        except SystemExit as ended:
            return int(ended.code or 0)
    return 99


class Row(NamedTuple):
    """One line of a sweep's table."""

    state: str
    best: str  # validation loss
    number: int  # of the point
    rest: str  # its label, then its run or its error


ROW = re.compile(r"([a-z]+(?: [a-z]+)?) +(\d+\.\d{4})? +(\d+)  (.*)")


def rows(shown: str) -> list[Row]:
    """The rows of a sweep's table, as they stand there."""
    lines = shown.splitlines()
    head = max(i for i, line in enumerate(lines) if line.startswith("state "))
    found = map(ROW.fullmatch, lines[head + 1 :])
    return [Row(f[1], f[2] or "", int(f[3]), f[4]) for f in found if f is not None]


def table(shown: str) -> list[Row]:
    """The rows of a sweep's table, in the order of the points."""
    return sorted(rows(shown), key=lambda row: row.number)


def states(shown: str) -> list[str]:
    """What became of the points, in their order."""
    return [row.state for row in table(shown)]


def only_path(pattern: str) -> Path:
    """The one run directory of this folder's outputs whose name fits."""
    [path] = Path("outputs").glob(f"*/{pattern}")
    return path


def run_name(trainer: Trainer) -> str:
    """The name of the directory of the run that it trains."""
    return trainer.parts.store.folder.parent.name
