"""Evaluation curves over each other, by matplotlib: made without a window, in any thread."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gptexp.analysis.cliff import CurvePoint, best_of
from gptexp.report import reference_lines, style
from gptexp.report.results import Bundle
from gptexp.report.style import WIDE, Styled

AXES = {"step": "step", "tokens": "tokens", "epochs": "epochs of the training set"}

FIRST_FALL = 0.05  # share of a run's steps whose losses may lie above the figure

UNEQUAL = 8  # times as long as a short curve: then the axis is logarithmic

FEW_LINES = 7  # which may be thick


def overlay(
    bundles: Sequence[Bundle],
    axis: str,
    size: tuple[float, float] = WIDE,
    legend: bool = True,
    ngrams: Sequence[float] = (),
) -> Figure:
    """A figure of groups, each in its colour, over one of AXES: training dashed, best marked.

    An open circle is at the end of the curve of a run that is not done.

    The loss axis ends where the first steep fall does, so that a cliff is seen beside it. `ngrams`
    are losses of order 1, 2, ..., drawn behind the curves: see reference_lines.draw.
    """
    figure, axes = style.canvas(size)
    curves = [curve for bundle in bundles for curve in bundle.curves]
    width = 1.4 if len(curves) <= FEW_LINES else 0.9
    ends = sorted(getattr(curve[-1], axis) for curve in curves)
    usual = ends[len(ends) // 4]  # not the shortest, which may be a run that has just begun
    unequal = ends[-1] > UNEQUAL * usual > 0
    if unequal:
        axes.set_xscale("log", nonpositive="mask")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(style.tick))
    styled = style.styles([bundle.values for bundle in bundles])
    for bundle, (color, marker) in zip(bundles, styled, strict=True):
        for curve, unfinished in zip(bundle.curves, bundle.unfinished, strict=True):
            _curve(axes, curve, axis, (color, marker), width)
            if unfinished:
                end = (getattr(curve[-1], axis), curve[-1].val_loss)
                axes.plot(*end, "o", color=color, markersize=9, fillstyle="none")
        if bundle.band is not None:
            x = [getattr(point, axis) for point in bundle.curves[0]]
            # A log axis has no place for the start, and an area with it would have no corner there.
            rows = [row for row in zip(x, *bundle.band, strict=True) if row[0] > 0 or not unequal]
            if rows:
                x, low, high = ([row[i] for row in rows] for i in range(3))
                axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylim(loss_range(bundles))
    axes.set_xlabel(AXES[axis] + (", log scale" if unequal else ""))
    axes.set_ylabel(f"loss, {bundles[0].unit}")
    if legend:
        style.legend(figure, map(legend_words, bundles), styled, "validation loss at its best")
    reference_lines.draw(figure, axes, ngrams)
    return figure


def legend_words(bundle: Bundle) -> str:
    """A group in a legend: its label, the loss at its best, and what is not whole of it."""
    open_ends = sum(bundle.unfinished)
    marks = ["capped"] if bundle.capped else []
    if open_ends:
        marks.append(f"{open_ends} unfinished" if len(bundle.curves) > 1 else "unfinished")
    return f"{bundle.label}: {bundle.best:.3f}" + (f" ({', '.join(marks)})" if marks else "")


def loss_range(bundles: Sequence[Bundle]) -> tuple[float, float]:
    """The ends of a loss axis: the lowest loss, and the highest after the first steep fall.

    But not far above where all began.
    """
    values: list[float] = []
    for bundle in bundles:
        for curve in bundle.curves:
            late = [point for point in curve if point.step >= FIRST_FALL * curve[-1].step]
            losses = [loss for point in late for loss in (point.val_loss, point.train_loss)]
            values += [loss for loss in losses if not math.isnan(loss)]
        values += bundle.band[0] if bundle.band else []  # which is below the curve
    starts = [curve[0].val_loss for bundle in bundles for curve in bundle.curves]
    top, bottom = min(max(values), 2 * max(starts)), min(values)
    margin = 0.04 * (top - bottom) or 0.1
    return bottom - margin, top + margin


def _curve(
    axes: Axes, curve: Sequence[CurvePoint], axis: str, styled: Styled, width: float
) -> None:
    """Draw validation solid, training dashed and the best marked."""
    color, marker = styled
    x, best = [getattr(point, axis) for point in curve], best_of(curve)
    line: dict[str, Any] = {"color": color, "linewidth": width}
    axes.plot(x, [point.val_loss for point in curve], **line)
    axes.plot(x, [point.train_loss for point in curve], linestyle="--", alpha=0.6, **line)
    axes.plot(getattr(best, axis), best.val_loss, marker, color=color, markersize=5)
