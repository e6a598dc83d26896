"""A law of the loss by matplotlib: curves with bands, residuals, a map, frontiers, held out."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from gptexp.laws.frontier import Frontier
from gptexp.laws.points import Array
from gptexp.report import law_views, style
from gptexp.report.law_views import Curve, Errors, LossMap
from gptexp.report.style import MARKERS, Styled

PARAMETERS, FLOPS = "parameters", "FLOPs"

AXES = {law_views.UNIQUE: "unique tokens", law_views.TOKENS: "tokens seen"}

GRAY = "#808080"  # seen on white and on black

EDGE = "#1c2128"  # of a point on a coloured ground

LADDER = (1.0, 2.0, 5.0)  # levels of a map in each power of ten

LEVELS = 9  # of a map of losses

DECADES = 4  # of the levels of a cliff, down from the highest

POINTS = 15.0  # area of a point

BEYOND = 1.05  # times the measured losses that an axis goes

LINEAR = 1.0  # percent: up to here an axis of errors is linear

# Of each power of ten, for an axis of less than one, two, ...
TICKS = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 5), (1, 2, 5), (1,))


def curves(
    lines: Sequence[Curve], unit: str, size: tuple[float, float], legend: bool = True
) -> Figure:
    """The loss over sizes: points as measured, the law as a line, and the band that it lies in."""
    figure, axes = style.canvas(size)
    styled = styles(lines)
    for line, look in zip(lines, styled, strict=True):
        color, _ = look
        axes.fill_between(line.n, line.low, line.high, color=color, alpha=0.18, linewidth=0)
        axes.plot(line.n, line.loss, color=color, linewidth=1, linestyle=":")
        inside = (line.sizes.min() <= line.n) & (line.n <= line.sizes.max())
        axes.plot(line.n[inside], line.loss[inside], color=color, linewidth=1.4)
        draw_points(axes, line.sizes, line.measured, look)
    log_axis(axes, "x", PARAMETERS)
    measured = np.concatenate([line.measured for line in lines])
    log_axis(axes, "y", f"loss, {unit}")
    axes.set_ylim(measured.min() / BEYOND, measured.max() * BEYOND)
    if legend:
        style.legend(figure, [line.label for line in lines], styled)
    return figure


def styles(lines: Sequence[Curve]) -> list[Styled]:
    """A colour and a marker for each curve: a hue for each text, and a shade for its epochs."""
    return style.styles([(*map(str, line.values[:-1]), line.values[-1]) for line in lines])


def residuals(
    predicted: Array, percent: Array, n: Array, unit: str, size: tuple[float, float]
) -> Figure:
    """How far each loss was above the law's, in percent, over that; the colours are the sizes."""
    figure, axes = style.canvas(size)
    axes.axhline(0, color=GRAY, linewidth=1)
    norm = LogNorm(n.min(), n.max()) if n.min() < n.max() else Normalize(n.min() / 2, n.max() * 2)
    drawn = axes.scatter(predicted, percent, POINTS, c=n, cmap=style.ORDERED, norm=norm)
    log_axis(axes, "x", f"loss by the law, {unit}")
    _percent_axis(axes, "measured above the law, %")
    bar = figure.colorbar(drawn, ax=axes, label=PARAMETERS, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    _log_ticks(bar.ax.yaxis, n)
    return figure


def loss_map(shown: LossMap, unit: str, size: tuple[float, float]) -> Figure:
    """A law over sizes and tokens in steps of colour, and what was measured, in the same colours.

    What repeats add is in steps of 1, 2, 5 of each power of ten.
    """
    figure, axes = style.canvas(size)
    levels = cliff_levels(shown) if shown.cliff_at else loss_levels(shown)
    colors = colormaps["YlOrRd" if shown.cliff_at else "YlGnBu_r"]
    ends: Literal["both", "max"] = "both"
    norm = BoundaryNorm(levels, colors.N, extend=ends)
    ground = axes.contourf(
        shown.n, shown.down, shown.value, levels=levels, cmap=colors, norm=norm, extend=ends
    )
    ground.set_edgecolor("face")  # else a dark page shines through between two colours
    axes.scatter(
        shown.sizes,
        shown.at,
        3 * POINTS,
        c=shown.measured,
        cmap=colors,
        norm=norm,
        edgecolors=EDGE,
        linewidths=0.9,
        clip_on=False,
        zorder=3,
    )
    log_axis(axes, "x", PARAMETERS)
    log_axis(axes, "y", AXES[shown.over])
    axes.grid(False)
    bar = figure.colorbar(
        ScalarMappable(norm, colors), ax=axes, extend=ends, aspect=30, pad=0.02, ticks=levels
    )
    bar.set_label(f"added by repeats, {unit}" if shown.cliff_at else f"loss, {unit}")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(style.tick))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)
    return figure


def cliff_levels(shown: LossMap) -> list[float]:
    """Steps of 1, 2, 5 of each power of ten, at most DECADES of them, down from the highest."""
    most = max(float(shown.value.max()), float(shown.measured.max()), 1e-6)
    top = math.ceil(math.log10(most))
    ladder = [step * 10.0**power for power in range(top - DECADES, top + 1) for step in LADDER]
    below = [level for level in ladder if level < most]
    return below[-LEVELS:]


def loss_levels(shown: LossMap) -> list[float]:
    """Round steps between the lowest and the highest loss that was measured."""
    low, high = float(shown.measured.min()), float(shown.measured.max())
    return [float(level) for level in MaxNLocator(LEVELS).tick_values(low, high)]


def frontier(best: Frontier, given: str, measured: Array, size: tuple[float, float]) -> Figure:
    """The best size over what is given, with its band: dashed where no model like it was trained.

    `measured` [point, 2] are what was given and the size of trained models.
    """
    figure, axes = style.canvas(size)
    color = style.PALETTE[0]
    known = np.isfinite(best.n.value)
    x, n = best.given[known], best.n.value[known]
    high = np.minimum(best.n.high[known], 1e3 * n.max())  # an infinite one has no place
    axes.fill_between(x, best.n.low[known], high, color=color, alpha=0.18, linewidth=0)
    draw_points(axes, measured[:, 0], measured[:, 1], (GRAY, "o"), alpha=0.7)
    inside = best.is_measured[known]
    axes.plot(x, n, color=color, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.plot(x, np.where(inside, n, np.nan), color=color, linewidth=2)
    log_axis(axes, "x", given)
    if given == FLOPS:
        axes.xaxis.set_major_formatter(FuncFormatter(power))
    log_axis(axes, "y", f"best {PARAMETERS}")
    reach = np.concatenate([n, measured[:, 1]])
    axes.set_ylim(reach.min() / 2, reach.max() * 2)
    return figure


def held_out(
    errors: Sequence[Errors], unit: str, size: tuple[float, float], legend: bool = True
) -> Figure:
    """How far the law's losses were from those that it was not fitted to, in percent, over these.

    Above the line a law says too much.
    """
    figure, axes = style.canvas(size)
    axes.axhline(0, color=GRAY, linewidth=1)
    styled = error_styles(errors)
    for one, look in zip(errors, styled, strict=True):
        draw_points(axes, one.measured, one.percent, look)
    log_axis(axes, "x", f"measured loss, {unit}")
    _percent_axis(axes, "law above measured, %")
    if legend:
        style.legend(figure, [one.label for one in errors], styled)
    return figure


def error_styles(errors: Sequence[Errors]) -> list[Styled]:
    """A colour for each law and a marker for what was left out."""
    laws = list(dict.fromkeys(one.law for one in errors))
    sides = list(dict.fromkeys(one.side for one in errors))
    return [
        (style.PALETTE[laws.index(one.law)], list(MARKERS)[sides.index(one.side)]) for one in errors
    ]


def draw_points(axes: Axes, x: Array, y: Array, look: Styled, alpha: float = 0.85) -> None:
    color, marker = look
    axes.scatter(x, y, POINTS, c=color, marker=marker, linewidths=0, alpha=alpha, zorder=3)


def is_far(percent: Array) -> bool:
    """Whether errors reach so far that their axis is linear up to LINEAR alone."""
    return float(np.abs(percent).max()) > 10 * LINEAR


def _percent_axis(axes: Axes, label: str) -> None:
    """An axis of errors, which may be of 0.1% and of 50%: see is_far."""
    reach = axes.yaxis.get_data_interval()
    axes.set_ylabel(label)
    if is_far(np.array(reach)):
        far = max(map(abs, reach))
        axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.5)
        powers = [step * 10.0**power for power in range(4) for step in (1, 3)]
        ticks = [0.0, *(sign * tick for tick in powers if tick <= 1.2 * far for sign in (1, -1))]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        low, high = reach
        axes.set_ylim(1.3 * low if low < 0 else -LINEAR, 1.3 * high if high > 0 else LINEAR)
        axes.yaxis.set_minor_locator(NullLocator())


def log_axis(axes: Axes, which: Literal["x", "y"], label: str) -> None:
    """A logarithmic axis whose numbers are read as they stand."""
    axes.set(**{f"{which}scale": "log", f"{which}label": f"{label}, log scale"})
    axis: Axis = getattr(axes, f"{which}axis")
    _log_ticks(axis, np.array(axis.get_data_interval()))


def _log_ticks(axis: Axis, values: Array) -> None:
    """Ticks at powers of ten, at some parts of each, or at round numbers, as the values reach."""
    decades = math.log10(values.max() / values.min())
    locator: Locator = MaxNLocator(6)
    if decades > 0.4:
        locator = LogLocator(subs=TICKS[min(int(decades), len(TICKS) - 1)])
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(style.tick))


def power(value: float, _: object = None) -> str:
    """A number of FLOPs, for which there are no short words: 6.2e18."""
    return f"{value:.2g}" if value < 1e4 else f"{value:.1e}".replace(".0e", "e").replace("e+", "e")
