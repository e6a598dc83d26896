"""How a run was trained, for a page: losses, learning rate, and what it wrote by the way."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptexp.analysis.cliff import CurvePoint, measure, read_curve
from gptexp.analysis.records import is_run
from gptexp.errors import Problem, StorageError
from gptexp.runs.journal import Sample, Samples
from gptexp.runs.lines import Lines

MOST_POINTS = 100  # of a curve: as many as a picture of its size tells apart

MOST_SAMPLES = 20  # of the stages of training

MOST_CHARACTERS = 500  # of a sample

RATE = "train/lr"


@dataclass(frozen=True)
class History:
    """What lies beside the weights; empty where nothing does."""

    curve: dict[str, Any] = field(default_factory=dict)  # plain values, as curve.js draws them
    samples: list[dict[str, Any]] = field(default_factory=list)  # steps and texts, in order
    damage: list[Problem] = field(default_factory=list)


def history(run: Path) -> History:
    """That of a run directory, of a checkpoint in one, or of a lone file, which has none."""
    if run.parent.name == "checkpoints" and is_run(run.parents[1]):
        run = run.parents[1]
    if not run.is_dir():
        return History()
    points, notes = read_curve(run)
    damage = [_damaged(run / "metrics.jsonl", notes)] if notes else []
    curve = _curve(points)
    if curve:
        curve["rates"] = _rates(run)
    samples: list[dict[str, Any]] = []
    lines = Lines(run / "samples.jsonl")
    try:
        samples = [
            {"step": sample.step, "text": f"{sample.prompt}{sample.text}"[:MOST_CHARACTERS]}
            for sample in _spread(sorted(Samples(lines), key=_step), MOST_SAMPLES)
        ]
    except StorageError as error:
        damage += error.problems
    if lines.left_out:
        damage.append(_damaged(lines.path, lines.damage()))
    return History(curve, samples, damage)


def _damaged(path: Path, notes: Iterable[str]) -> Problem:
    what = "; ".join(note.removeprefix(f"{path}: ") for note in notes)
    return Problem(path, what, "the page holds the rest; see gptexp reproduce")


def _curve(points: Sequence[CurvePoint]) -> dict[str, Any]:
    """The steps and losses of the evaluations, and where they are best and where they turn."""
    cliff = measure(points)
    if cliff is None:
        return {}
    shown = {point.step: point for point in _spread(points, MOST_POINTS)}
    shown |= {point.step: point for point in (cliff.best, cliff.onset) if point is not None}
    kept = [shown[step] for step in sorted(shown)]
    return {
        "steps": [point.step for point in kept],
        "val": [round(point.val_loss, 4) for point in kept],
        "train": [round(point.train_loss, 4) for point in kept],
        "best": cliff.best.step,
        "onset": None if cliff.onset is None else cliff.onset.step,
        "verdict": cliff.verdict,
    }


def _rates(run: Path) -> list[tuple[int, float]]:
    """Steps and the learning rates that they were made with; read as a stream, and thinned so."""
    kept: list[tuple[int, float]] = []
    stride, rate = 1, None
    for number, rate in enumerate(_each_rate(run)):
        if number % stride == 0:
            kept.append(rate)
        if len(kept) > 2 * MOST_POINTS:
            kept, stride = kept[::2], 2 * stride
    return kept if rate is None or kept[-1] == rate else [*kept, rate]


def _each_rate(run: Path) -> Iterator[tuple[int, float]]:
    lines = Lines(run / "metrics.jsonl", having=f'"{RATE}"'.encode())
    return ((line["step"], line[RATE]) for line in lines if line.get(RATE) is not None)


def _step(sample: Sample) -> int:
    """That of the best weights stands last in the file, whatever theirs is."""
    return sample.step


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items at equal distances, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]
