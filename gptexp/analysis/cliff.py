"""The overfit cliff: what one evaluation curve says about where memorising begins.

The definitions are this project's own, made so that a table can hold them. They rest on the exact
evaluations alone; a rise counts when it is larger than the standard error of the best evaluation
(see inference.evaluation.standard_error), so that noise in the text is not taken for a cliff.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

STAYS = 3  # evaluations in a row above the best that make a cliff


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation; losses in nats per token."""

    step: int
    tokens: float
    epochs: float
    val_loss: float
    train_loss: float  # on as much of the training text as validation has
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


def curve_points(rows: Sequence[dict[str, Any]]) -> list[CurvePoint]:
    """The evaluations with finite losses among lines of metrics.jsonl."""
    return [
        CurvePoint(
            step=row["step"],
            tokens=row["tokens"],
            epochs=row["epoch"],
            val_loss=row["val/loss"],
            train_loss=row["train/eval_loss"],
            stderr=row.get("val/stderr") or 0.0,
        )
        for row in rows
        if row.get("val/loss") is not None and row.get("train/eval_loss") is not None
    ]


def measure(curve: Sequence[CurvePoint]) -> Cliff | None:
    """The cliff of a curve in the order of its steps; None for an empty one."""
    if not curve:
        return None
    best = best_of(curve)
    after = curve[curve.index(best) + 1 :]
    first = _onset(best, after)
    no_cliff = "none" if len(after) >= STAYS else "too early"
    return Cliff(
        verdict=no_cliff if first is None else "cliff",
        best=best,
        onset=None if first is None else after[first],
        height=curve[-1].val_loss - best.val_loss,
        slope=None if first is None else _slope(after[first:]),
        gap=best.val_loss - best.train_loss,
    )


def best_of(curve: Sequence[CurvePoint]) -> CurvePoint:
    """The first of the points with the lowest validation loss, of at least one."""
    return min(curve, key=lambda point: point.val_loss)


def _onset(best: CurvePoint, after: Sequence[CurvePoint]) -> int | None:
    """The index of the first of STAYS points in a row above the best by more than its error."""
    above = [point.val_loss - best.val_loss > best.stderr for point in after]
    starts = range(len(above) - STAYS + 1)
    return next((start for start in starts if all(above[start : start + STAYS])), None)


def _slope(curve: Sequence[CurvePoint]) -> float:
    """Slope in nats per epoch, by least squares over STAYS points or more of different epochs."""
    x = sum(point.epochs for point in curve) / len(curve)
    y = sum(point.val_loss for point in curve) / len(curve)
    covariance = sum((point.epochs - x) * (point.val_loss - y) for point in curve)
    return covariance / sum((point.epochs - x) ** 2 for point in curve)
