"""Best losses over what varies, by matplotlib: as means with intervals, and as a map."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gptexp.analysis.groups import Statistic
from gptexp.analysis.units import NATS
from gptexp.report import style
from gptexp.report.points import Factor, Series
from gptexp.report.style import WIDE
from gptexp.text import plain

TICKS_PER_INCH = 0.8  # of numbers such as 1.21M

DODGE = 0.25  # of the least distance between values: what all points at one value take of it

FAR = 3  # times the way from the lowest to the middle one, see _color_range

BEYOND = 1.0  # of the span of the means: what an interval may take above and below

GRAY, FRAME = "#808080", "#d9641c"  # seen on white and on black

MOST_LETTERS = 16  # of a value on an axis


@dataclass(frozen=True)
class Cell:
    """A cell of a map: the number that colours it, and two lines of text."""

    number: float | None
    text: str
    below: str


NOTHING = Cell(None, "no run", "")


def losses(
    lines: Sequence[Series],
    over: Factor,
    size: tuple[float, float] = WIDE,
    legend: bool = True,
    unit: str = NATS,
) -> Figure:
    """A figure of mean best losses with 95% intervals; a line joins the lowest, a star its optimum.

    Points of several lines at one value stand beside each other, so that no interval hides another.
    """
    figure, axes = style.canvas(size)
    scale = over.scale
    apart = DODGE * min((b - a for a, b in pairwise(scale.places)), default=1.0) / len(lines)
    styled = style.styles([line.values for line in lines])
    for number, (line, (color, marker)) in enumerate(zip(lines, styled, strict=True)):
        aside = apart * (number - (len(lines) - 1) / 2)
        x = [scale.place(value) + aside for value, _ in line.points]
        lowest: dict[float, float] = {}
        for place, (_, loss) in zip(x, line.points, strict=True):
            lowest[place] = min(loss.mean, lowest.get(place, math.inf))
        if scale.kind != "words":
            axes.plot(list(lowest), list(lowest.values()), color=color, linewidth=1)
        axes.errorbar(
            x,
            [loss.mean for _, loss in line.points],
            yerr=[loss.ci95 or 0.0 for _, loss in line.points],
            fmt=marker,
            color=color,
            markersize=5,
            capsize=3,
            elinewidth=1,
        )
        if line.optimum and not line.optimum.edge:
            star: dict[str, Any] = {"markersize": 11, "markerfacecolor": "none", "color": color}
            axes.plot(line.optimum.place, line.optimum.loss, "*", **star)
    _limit(axes, [loss for line in lines for _, loss in line.points])
    if scale.kind == "words":
        axes.set_xlim(-0.5, len(scale.values) - 0.5)
    _ticks(axes, over, size[0])
    axes.set_ylabel(f"best validation loss, {unit}")
    words = [legend_words(line, over) for line in lines]
    if legend and any(words):
        style.legend(figure, words, styled, "lowest, by a parabola" if stars(lines) else None)
    return figure


def legend_words(line: Series, over: Factor) -> str:
    """A line in a legend: its label, and where it is lowest; empty where nothing is known."""
    if line.optimum is None:
        return line.label
    value = over.scale.at(line.optimum.place)
    place = f"{over.name}={value:.3g}"
    if line.optimum.edge and value:  # below a zero there is often nothing
        place = f"at the edge, {place}: try {line.optimum.edge} values"
    return f"{line.label}: {place}" if line.label else place


def stars(lines: Sequence[Series]) -> bool:
    """Whether a line has its optimum between two points."""
    return any(line.optimum is not None and not line.optimum.edge for line in lines)


def heat_map(
    cells: Mapping[tuple[Any, Any], Cell], rows: Factor, columns: Factor, low_is_best: bool
) -> Figure:
    """A map of cells by their values of two factors, in colours that are strong at low, or high.

    Where low is best, a frame is around the lowest.
    """
    down, across = rows.scale.values, columns.scale.values
    figure, axes = style.canvas(
        (1.6 + max(0.95 * len(across), 3.0), 0.9 + max(0.55 * len(down), 1.1))
    )
    numbers = {at: cell.number for at, cell in cells.items() if cell.number is not None}
    low, high = _color_range(sorted(numbers.values()), low_is_best)
    colors = colormaps["YlGnBu_r" if low_is_best else "YlOrRd"]
    axes.pcolormesh(
        [[numbers.get((row, column), math.nan) for column in across] for row in down],
        vmin=low,
        vmax=high,
        cmap=colors,
        edgecolors=GRAY,
        lw=0.5,
        clip_on=False,
    )
    for (y, row), (x, column) in product(enumerate(down), enumerate(across)):
        cell = cells.get((row, column), NOTHING)
        ink = GRAY if cell.number is None else _ink((cell.number - low) / (high - low), colors)
        text: dict[str, Any] = {"ha": "center", "color": ink}
        axes.text(x + 0.5, y + 0.54, cell.text, va="bottom", fontsize=9, **text)
        axes.text(x + 0.5, y + 0.44, cell.below, va="top", fontsize=7.5, **text)
    if low_is_best and numbers:
        row, column = min(numbers, key=lambda at: numbers[at])
        corner = (across.index(column), down.index(row))
        frame: dict[str, Any] = {"fill": False, "edgecolor": FRAME, "lw": 2.5, "clip_on": False}
        axes.add_patch(Rectangle(corner, 1, 1, **frame))
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set_xticks([i + 0.5 for i in range(len(across))], _tick_words(columns))
    axes.set_yticks([i + 0.5 for i in range(len(down))], _tick_words(rows))
    axes.set_xlabel(style.written(columns.key))
    axes.set_ylabel(style.written(rows.key))
    axes.spines[:].set_visible(False)
    return figure


def _color_range(numbers: Sequence[float], low_is_best: bool) -> tuple[float, float]:
    """The numbers, which are in order, at the ends of the colours.

    Where low is best, colours end at most FAR times as far from the lowest as the middle one is,
    so that one bad corner does not make all others alike.
    """
    high = numbers[-1] if numbers else 1.0
    if not low_is_best:
        return 0.0, high if high > 0 else 1.0
    low = numbers[0] if numbers else 0.0
    middle = numbers[len(numbers) // 2] if numbers else 0.0
    high = min(high, low + FAR * (middle - low)) if middle > low else high
    return low, high if high > low else low + 1.0


def _ink(share: float, colors: Colormap) -> str:
    """White or nearly black, whichever is read on the colour; black is ink of the page."""
    red, green, blue, _ = colors(share)
    return "#111111" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.55 else "#ffffff"


def _limit(axes: Axes, means: Sequence[Statistic]) -> None:
    """Cut intervals that would flatten the rest, as those of two seeds can."""
    low, high = min(loss.mean for loss in means), max(loss.mean for loss in means)
    span = high - low
    if span > 0:
        ends = [(loss.mean - (loss.ci95 or 0), loss.mean + (loss.ci95 or 0)) for loss in means]
        low = max(low - BEYOND * span, min(low for low, _ in ends))
        high = min(high + BEYOND * span, max(high for _, high in ends))
        axes.set_ylim(low - 0.05 * span, high + 0.05 * span)


def _ticks(axes: Axes, over: Factor, inches: float) -> None:
    """Put ticks at the values where there is room."""
    places, words = over.scale.places, _tick_words(over)
    room = (places[-1] - places[0]) / (TICKS_PER_INCH * inches)
    ticks: list[tuple[float, str]] = []
    for tick in zip(places, words, strict=True):
        if not ticks or tick[0] - ticks[-1][0] >= room:
            ticks.append(tick)
    axes.set_xticks([place for place, _ in ticks], [word for _, word in ticks])
    log = ", log scale" if over.scale.kind == "log" else ""
    axes.set_xlabel(style.written(over.key) + log)


def _tick_words(over: Factor) -> list[str]:
    """The values as they stand on an axis."""
    return [
        style.tick(value) if over.is_count else style.written(plain(value), MOST_LETTERS)
        for value in over.scale.values
    ]
