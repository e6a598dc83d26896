"""Curves by matplotlib: figures without a window, made, saved and dropped in any thread."""

import colorsys
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from gptexp.analysis.cliff import CurvePoint, best_of
from gptexp.analysis.groups import Statistic
from gptexp.report import reference_lines
from gptexp.report.results import Bundle, Size
from gptexp.text import short

AXES = {"step": "step", "tokens": "tokens", "epochs": "epochs of the training set"}

WIDE, NARROW = (10.5, 5.0), (4.3, 4.6)  # inches; the second is for a phone held upright

# Neither too dark nor too pale, so that a line is seen on white and on black.
PALETTE = (
    *("#2f78b7", "#d9641c", "#2e9a50", "#c83e4d", "#8660b8"),
    *("#8c6144", "#d16ba5", "#7a8794", "#a39a1f", "#1fa3b0"),
)

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # and the same as a letter

FIRST_FALL = 0.05  # share of a run's steps whose losses may lie above the figure

UNEQUAL = 8  # times as long as a short curve: then the axis is logarithmic

FEW_LINES = 7  # which may be thick

TICKS_PER_INCH = 0.8  # of numbers such as 1.21M

Styled = tuple[str, str]  # a colour and a key of MARKERS

Series = Mapping[str, Sequence[tuple[float, Statistic]]]  # by label: x, and losses there


def cliffs(curves: Mapping[str, Sequence[CurvePoint]], axis: str) -> Figure:
    """A figure of evaluation curves by label over one of AXES: training dashed, best marked."""
    figure, axes = _canvas((8.0, 4.5))
    for (label, curve), (color, _) in zip(curves.items(), styles(len(curves)), strict=True):
        best = _curve(axes, curve, axis, (color, "o"), label=label)
        axes.annotate(
            f"{best.val_loss:.3f}",
            (getattr(best, axis), best.val_loss),
            textcoords="offset points",
            xytext=(0, -12),
            ha="center",
            fontsize=8,
            color=color,
        )
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel("loss, nats per token (training dashed)")
    axes.legend(fontsize=8)
    return figure


def overlay(
    bundles: Sequence[Bundle],
    axis: str,
    size: tuple[float, float] = WIDE,
    legend: bool = True,
    ngrams: Sequence[float] = (),
) -> Figure:
    """A figure of groups, each in its colour, over one of AXES: training dashed, best marked.

    The loss axis ends where the first steep fall does, so that a cliff is seen beside it. `ngrams`
    are losses of order 1, 2, ..., drawn behind the curves: see reference_lines.draw.
    """
    figure, axes = _canvas(size)
    curves = [curve for bundle in bundles for curve in bundle.curves]
    width = 1.4 if len(curves) <= FEW_LINES else 0.9
    ends = sorted(getattr(curve[-1], axis) for curve in curves)
    usual = ends[len(ends) // 4]  # not the shortest, which may be a run that has just begun
    unequal = ends[-1] > UNEQUAL * usual > 0
    if unequal:
        axes.set_xscale("log", nonpositive="mask")
        _log_ticks(axes, size[0], [])
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    for bundle, style in zip(bundles, styles(len(bundles)), strict=True):
        for curve in bundle.curves:
            _curve(axes, curve, axis, style, width=width)
        if bundle.band is not None:
            x = [getattr(point, axis) for point in bundle.curves[0]]
            # A log axis has no place for the start, and an area with it would have no corner there.
            rows = [row for row in zip(x, *bundle.band, strict=True) if row[0] > 0 or not unequal]
            if rows:
                x, low, high = ([row[i] for row in rows] for i in range(3))
                axes.fill_between(x, low, high, color=style[0], alpha=0.15, linewidth=0)
    _limit(axes, curves)
    axes.set_xlabel(AXES[axis] + (", log scale" if unequal else ""))
    axes.set_ylabel("loss, nats per token")
    if legend:
        _legend(figure, [bundle.label for bundle in bundles])
    reference_lines.draw(figure, axes, ngrams)
    return figure


def losses(
    series: Series, x_label: str, size: tuple[float, float] = WIDE, legend: bool = True
) -> Figure:
    """A figure of mean best losses with 95% intervals on a log axis; a line joins the lowest."""
    figure, axes = _canvas(size)
    for points, (color, marker) in zip(series.values(), styles(len(series)), strict=True):
        lowest: dict[float, float] = {}
        for x, loss in points:
            lowest[x] = min(loss.mean, lowest.get(x, math.inf))
        axes.plot(sorted(lowest), [lowest[x] for x in sorted(lowest)], color=color, linewidth=1)
        axes.errorbar(
            [x for x, _ in points],
            [loss.mean for _, loss in points],
            yerr=[loss.ci95 or 0.0 for _, loss in points],
            fmt=marker,
            color=color,
            markersize=5,
            capsize=3,
            elinewidth=1,
        )
    _limit_means(axes, [loss for points in series.values() for _, loss in points])
    axes.set_xscale("log")
    _log_ticks(axes, size[0], sorted({x for points in series.values() for x, _ in points}))
    axes.set_xlabel(x_label)
    axes.set_ylabel("best loss, nats per token")
    if legend and any(series):
        _legend(figure, list(series))
    return figure


def cliff_map(cells: Sequence[Size]) -> Figure:
    """A map of parameters by training tokens: the cliff's height as colour, and the best loss."""
    rows = sorted({cell.params for cell in cells})
    columns = sorted({cell.tokens for cell in cells})
    heights = [[math.nan] * len(columns) for _ in rows]
    for cell in cells:
        height = cell.height.mean if cell.height else math.nan
        heights[rows.index(cell.params)][columns.index(cell.tokens)] = height
    size = (1.3 + max(0.95 * len(columns), 3.0), 0.9 + max(0.55 * len(rows), 1.1))
    figure, axes = _canvas(size)
    top = max((value for row in heights for value in row if value > 0), default=1.0)
    mesh = axes.pcolormesh(heights, vmin=0, vmax=top, cmap="YlOrRd", edgecolors="#888888", lw=0.5)
    for cell in cells:
        x, y = columns.index(cell.tokens) + 0.5, rows.index(cell.params) + 0.5
        height = math.nan if cell.height is None else cell.height.mean
        # Not quite black, which is what the page turns to white in the dark.
        ink = "#ffffff" if height > 0.6 * top else "#111111"
        ink = "#808080" if math.isnan(height) else ink
        above = "-" if math.isnan(height) else f"+{height:.3f}"
        style: dict[str, Any] = {"ha": "center", "color": ink}
        axes.text(x, y + 0.04, above, va="bottom", fontsize=9, fontweight="bold", **style)
        axes.text(x, y - 0.06, f"best {cell.best.mean:.3f}", va="top", fontsize=7.5, **style)
    mesh.set_clip_on(False)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set_xticks([i + 0.5 for i in range(len(columns))], [_tick(value) for value in columns])
    axes.set_yticks([i + 0.5 for i in range(len(rows))], [_tick(value) for value in rows])
    axes.set_xlabel("training tokens")
    axes.set_ylabel("parameters")
    axes.spines[:].set_visible(False)
    return figure


def styles(count: int) -> Iterator[Styled]:
    """Yield so many colours with markers, all different up to a few dozen."""
    markers = list(MARKERS)
    for number in range(count):
        if count <= len(PALETTE):
            yield PALETTE[number], markers[0]
        else:
            light = (0.36, 0.48)[number % 2]
            color = to_hex(colorsys.hls_to_rgb(number / count, light, 0.65))
            yield color, markers[number % len(markers)]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same bytes for the same figure."""
    # A sign that the font lacks becomes a box, and nobody needs to be told.
    warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` to stand in a page, whose text colour it takes for its black.

    `name` keeps what it refers to apart from that of other figures of the page.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # twice in a page with several figures
    text = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1)
    # Hundredths of a point are seen by nobody; text, which stands between tags, is left alone.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)
    return text.replace("#000000", "currentColor").replace("xlink:href", "href")


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curve(
    axes: Axes,
    curve: Sequence[CurvePoint],
    axis: str,
    style: Styled,
    label: str | None = None,
    width: float = 1.5,
) -> CurvePoint:
    """Draw validation solid, training dashed and the best marked; returns the best."""
    color, marker = style
    x, best = [getattr(point, axis) for point in curve], best_of(curve)
    line: dict[str, Any] = {"color": color, "linewidth": width}
    axes.plot(x, [point.val_loss for point in curve], label=label, **line)
    axes.plot(x, [point.train_loss for point in curve], linestyle="--", alpha=0.6, **line)
    axes.plot(getattr(best, axis), best.val_loss, marker, color=color, markersize=5)
    return best


def _limit(axes: Axes, curves: Sequence[Sequence[CurvePoint]]) -> None:
    """End the axis at the highest loss after the first fall, and not far above where all began."""
    ends = [FIRST_FALL * curve[-1].step for curve in curves]
    late = [p for curve, end in zip(curves, ends, strict=True) for p in curve if p.step >= end]
    values = [value for point in late for value in (point.val_loss, point.train_loss)]
    top, bottom = min(max(values), 2 * max(curve[0].val_loss for curve in curves)), min(values)
    margin = 0.04 * (top - bottom) or 0.1
    axes.set_ylim(bottom - margin, top + margin)


def _limit_means(axes: Axes, means: Sequence[Statistic]) -> None:
    """Cut intervals that would flatten the rest, as those of two seeds can."""
    low, high = min(loss.mean for loss in means), max(loss.mean for loss in means)
    span = high - low
    if span > 0:
        ends = [(loss.mean - (loss.ci95 or 0), loss.mean + (loss.ci95 or 0)) for loss in means]
        low = max(low - span, min(low for low, _ in ends))
        high = min(high + span, max(high for _, high in ends))
        axes.set_ylim(low - 0.05 * span, high + 0.05 * span)


def _log_ticks(axes: Axes, inches: float, values: Sequence[float]) -> None:
    """Put ticks at the values where there is room; at 1, 2 and 5 where there are no values."""
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    if not values:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        return
    room = math.log(values[-1] / values[0]) / (TICKS_PER_INCH * inches)
    ticks = [values[0]]
    for value in values[1:]:
        if math.log(value / ticks[-1]) >= room:
            ticks.append(value)
    axes.xaxis.set_major_locator(FixedLocator(ticks))


def _tick(value: float, _: object = None) -> str:
    """A number on an axis in three digits, 15872 as `15.9k`."""
    return short(value, digits=3)


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    """Draw a legend beside the axes, where it hides nothing."""
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, linewidth=1, label=label)
        for label, (color, marker) in zip(labels, styles(len(labels)), strict=True)
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=7, frameon=False)
