"""The overfit cliff: what one evaluation curve says about where memorising begins.

The definitions are this project's own, made so that a table can hold them. They rest on the exact
evaluations alone; a rise counts when it is larger than the standard error of the best evaluation
(see inference.evaluation.standard_error), so that noise in the text is not taken for a cliff.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptexp.errors import StorageError
from gptexp.runs.journal import evaluations

STAYS = 3  # evaluations in a row above the best that make a cliff

PART = "val/loss/"  # before the name of a part of a mix

MOST_PARTS = 20  # of one run, that a picture can tell apart

MOST_POINTS = 2000  # of a curve in memory: more than a picture has room for


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation; losses in nats per token."""

    step: int
    tokens: float
    epochs: float
    val_loss: float
    train_loss: float  # on as much of the training text as validation has; NaN of a mix's part
    stderr: float  # of val_loss


@dataclass(frozen=True)
class Cliff:
    """The overfit cliff of a curve; losses in nats per token."""

    verdict: str  # cliff; none; or too early, with fewer than STAYS evaluations after the best
    best: CurvePoint
    onset: CurvePoint | None  # the first of STAYS in a row above the best by more than its stderr
    height: float  # val_loss at the end minus that of the best
    slope: float | None  # nats per epoch from the onset to the end, by least squares
    gap: float  # val_loss minus train_loss, at the best

    def to_dict(self) -> dict[str, Any]:
        """The values for summary.json: all but the best, which stands there already."""
        values = asdict(self)
        del values["best"]
        return values


def read_curve(run: Path) -> tuple[list[CurvePoint], list[str]]:
    """The curve of a run directory as a picture shows it, and what of it could not be read."""
    lines = evaluations(run)
    try:
        curve = curve_points(lines)
    except StorageError as error:
        return [], [str(error)]
    if lines.left_out and not curve:
        return [], [f"{run}: metrics.jsonl is damaged, so its curve is left out"]
    return curve, lines.damage()


def read_parts(run: Path) -> dict[str, list[CurvePoint]]:
    """The curves of the parts of a mix as a picture shows them, by name; none that is damaged.

    Of that, read_curve says what it is.
    """
    lines = evaluations(run)
    try:
        names = [key.removeprefix(PART) for key in next(iter(lines), {}) if key.startswith(PART)]
        curves = {name: curve_points(lines, name) for name in names[:MOST_PARTS]}
    except StorageError:
        return {}
    return {name: curve for name, curve in curves.items() if curve}


def curve_points(rows: Iterable[dict[str, Any]], part: str | None = None) -> list[CurvePoint]:
    """The evaluations with finite losses among lines of metrics.jsonl: see each_point.

    Of more than MOST_POINTS, at least half as many at equal distances, with the best and the last.
    """
    kept: list[CurvePoint] = []
    best = last = None
    stride = 1
    for number, point in enumerate(each_point(rows, part)):
        if number % stride == 0:
            kept.append(point)
        if len(kept) > MOST_POINTS:
            kept, stride = kept[::2], 2 * stride
        if best is None or point.val_loss < best.val_loss:
            best = point
        last = point
    steps = {point.step: point for point in (*kept, best, last) if point is not None}
    return [steps[step] for step in sorted(steps)]


def each_point(rows: Iterable[dict[str, Any]], part: str | None = None) -> Iterator[CurvePoint]:
    """The evaluations with finite losses among lines of metrics.jsonl, one after another.

    Those of a `part` of a mix are of its own validation text.
    """
    for row in rows:
        loss = row.get("val/loss" if part is None else f"{PART}{part}")
        if loss is not None and row.get("train/eval_loss") is not None:
            yield CurvePoint(
                step=row["step"],
                tokens=row["tokens"],
                epochs=row["epoch"],
                val_loss=loss,
                train_loss=row["train/eval_loss"] if part is None else math.nan,
                stderr=(row.get("val/stderr") or 0.0) if part is None else math.nan,
            )


def measure(curve: Iterable[CurvePoint]) -> Cliff | None:
    """The cliff of a curve in the order of its steps, in one pass; None for an empty one."""
    best = last = onset = None
    above: list[CurvePoint] = []  # the last ones, in a row, that have no onset yet
    after, trend = 0, Trend()  # since the best; since the onset
    for last in curve:
        if best is None or last.val_loss < best.val_loss:
            best, onset, above, after, trend = last, None, [], 0, Trend()
            continue
        after += 1
        if onset is not None or last.val_loss - best.val_loss > best.stderr:
            above.append(last)
        else:
            above = []
        if len(above) == STAYS or onset is not None:
            onset = onset or above[0]
            for point in above:
                trend.add(point.epochs, point.val_loss)
            above = []
    if best is None or last is None:
        return None
    no_cliff = "none" if after >= STAYS else "too early"
    return Cliff(
        verdict=no_cliff if onset is None else "cliff",
        best=best,
        onset=onset,
        height=last.val_loss - best.val_loss,
        slope=None if onset is None else trend.slope,
        gap=best.val_loss - best.train_loss,
    )


def best_of(curve: Sequence[CurvePoint]) -> CurvePoint:
    """The first of the points with the lowest validation loss, of at least one."""
    return min(curve, key=lambda point: point.val_loss)


@dataclass(slots=True)
class Trend:
    """A straight line by least squares through points that come one by one.

    Means and sums of squares about them are brought up to date with each point (Welford 1962).
    """

    n: int = 0
    x: float = 0.0  # means
    y: float = 0.0
    xx: float = 0.0  # sums of squares and products about the means
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Take in a point."""
        self.n += 1
        dx = x - self.x
        self.x += dx / self.n
        self.y += (y - self.y) / self.n
        self.xx += dx * (x - self.x)
        self.xy += dx * (y - self.y)

    @property
    def slope(self) -> float:
        """Rise of y by x; 0 where all x are the same."""
        return self.xy / self.xx if self.xx else 0.0
