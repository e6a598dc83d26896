"""`gptexp plot`: the evaluation curves of runs in one picture."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gptexp.analysis import cliff
from gptexp.analysis.records import collect
from gptexp.errors import ConfigError, Problem
from gptexp.files import storage_errors

log = logging.getLogger(__name__)

FORMATS = (".png", ".svg", ".pdf")


def plot_cliffs(runs: Sequence[Path], to: Path, by: str) -> list[Problem]:
    """Draw the evaluations of `runs`, which may be folders of runs, over `by` into the file `to`.

    Returns what is damaged among them. Raises ConfigError for an axis, a kind of picture or a run
    that cannot be drawn, StorageError.
    """
    from gptexp.report import charts  # matplotlib: half a second

    if by not in charts.AXES:
        known = f"one of {', '.join(charts.AXES)}"
        raise ConfigError(Problem("--by", f"{by!r} is not known", known))
    if to.suffix not in FORMATS:
        known = f"a name with {', '.join(FORMATS)}"
        raise ConfigError(Problem("--to", f"{to} is no picture", known))
    curves: dict[Path, list[cliff.CurvePoint]] = {}
    collected, damaged = collect(runs)
    for path in (run.path for run in collected):
        curve, damage = cliff.read_curve(path)
        for words in damage:
            log.warning("%s", words)
        if not curve and not damage:
            log.warning("%s: holds no evaluation yet, so it is left out", path)
        if curve:
            curves[path] = curve
    if not curves:
        problem = Problem("runs", "none holds an evaluation", "name a run that has got that far")
        raise ConfigError(problem)
    with storage_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        charts.cliffs(labelled(curves), by).savefig(to)
    return damaged


def labelled(curves: dict[Path, list[cliff.CurvePoint]]) -> dict[str, list[cliff.CurvePoint]]:
    """The curves by folder and name, or by the whole path where two runs share these."""
    short = [f"{path.parent.name}/{path.name}" for path in curves]
    alone = {name for name, count in Counter(short).items() if count == 1}
    names = [n if n in alone else str(path) for n, path in zip(short, curves, strict=True)]
    return {n.replace("$", r"\$"): c for n, c in zip(names, curves.values(), strict=True)}
