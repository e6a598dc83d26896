"""How figures look: colours, canvas, numbers on axes, legends; and a figure as PNG or SVG."""

import colorsys
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gptexp.analysis.scale import scale_of
from gptexp.text import printable, short

WIDE, NARROW = (10.5, 5.0), (4.3, 4.6)  # inches; the second is for a phone held upright

# Neither too dark nor too pale, so that a line is seen on white and on black.
PALETTE = (
    *("#2f78b7", "#d9641c", "#2e9a50", "#c83e4d", "#8660b8"),
    *("#8c6144", "#d16ba5", "#7a8794", "#a39a1f", "#1fa3b0"),
)

# From the lowest value of a key to the highest: lighter by steps, and between the same bounds.
ORDERED = LinearSegmentedColormap.from_list(
    "ordered", ["#3d5fd6", "#8b55cf", "#c9508f", "#e0693a", "#cf9a1b"]
)

SHADES = (0.10, 0.38)  # luminance of a hue of PALETTE, for the lowest value and for the highest

LUMINANCE, GAMMA = (0.2126, 0.7152, 0.0722), 2.2  # of red, green and blue of a screen

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # and the same as a letter

MOST_LETTERS = 60  # of a label in a picture

Styled = tuple[str, str]  # a colour and a key of MARKERS


def styles(groups: Sequence[tuple[Any, ...]]) -> list[Styled]:
    """A colour with a marker for each group, told apart by values of the same keys.

    The key with the most numbers, if there is one, orders the colours: where nothing else varies,
    along ORDERED; else from dark to light, in a hue and with a marker for each combination of the
    others. Words, and more combinations than PALETTE has, are colours without an order, all
    different up to a few dozen.
    """
    columns = [scale_of(column) for column in zip(*groups, strict=True)]
    numbers = [i for i, scale in enumerate(columns) if scale.kind != "words"]
    lead = max(numbers, key=lambda i: len(columns[i].values), default=None)
    if lead is None or len(columns[lead].values) < 2:
        return _unordered(len(groups))
    families = list(dict.fromkeys((*group[:lead], *group[lead + 1 :]) for group in groups))
    if len(families) > len(PALETTE):
        return _unordered(len(groups))
    order, last = columns[lead].values, len(columns[lead].values) - 1
    styled = []
    for group in groups:
        family = families.index((*group[:lead], *group[lead + 1 :]))
        share = order.index(group[lead]) / last
        color = to_hex(ORDERED(share)) if len(families) == 1 else _shade(PALETTE[family], share)
        styled.append((color, list(MARKERS)[family % len(MARKERS)]))
    return styled


def canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty figure of so many inches, and its axes."""
    figure, (axes,) = panels(size, 1)
    return figure, axes


def panels(size: tuple[float, float], count: int) -> tuple[Figure, list[Axes]]:
    """An empty figure of so many inches, and as many axes side by side, with one scale upwards."""
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    row = list(figure.subplots(1, count, sharey=True, squeeze=False)[0])
    for axes in row:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row


def tick(value: float, _: object = None) -> str:
    """A number on an axis in three digits, 15872 as `15.9k`."""
    return short(value, digits=3)


def shown(label: str, most: int = MOST_LETTERS) -> str:
    """A label, which may be foreign, as one line of at most so many letters."""
    line = printable(label).replace("\n", " ").replace("\t", " ")
    return line if len(line) <= most else f"{line[: most - 3]}..."


def written(label: str, most: int = MOST_LETTERS) -> str:
    """A label as matplotlib shows it letter by letter."""
    return shown(label, most).replace("$", r"\$")


def legend(
    figure: Figure, labels: Iterable[str], styled: Iterable[Styled], title: str | None = None
) -> None:
    """Draw a legend beside the axes, where it hides nothing."""
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, linewidth=1, label=written(label))
        for label, (color, marker) in zip(labels, styled, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="outside right upper",
        fontsize=7,
        frameon=False,
        title=title,
        title_fontsize=7,
        alignment="left",
    )


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
    text = re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", text)  # twice in a page with several figures
    text = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1)
    # Hundredths of a point are seen by nobody; text, which stands between tags, is left alone.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)
    return text.replace("#000000", "currentColor").replace("xlink:href", "href")


def _unordered(count: int) -> list[Styled]:
    markers = list(MARKERS)
    if count <= len(PALETTE):
        return [(color, markers[0]) for color in PALETTE[:count]]
    return [
        (
            to_hex(colorsys.hls_to_rgb(number / count, (0.36, 0.48)[number % 2], 0.65)),
            markers[number % len(markers)],
        )
        for number in range(count)
    ]


def _shade(color: str, share: float) -> str:
    """The hue of a colour, from dark to light in equal steps of contrast.

    Luminance and contrast are those of WCAG 2 (sRGB); a colour is darkened by black and lightened
    by white.
    """
    light = [channel**GAMMA for channel in to_rgb(color)]
    own = sum(weight * part for weight, part in zip(LUMINANCE, light, strict=True))
    low, high = (luminance + 0.05 for luminance in SHADES)
    wanted = low * (high / low) ** share - 0.05
    white = max(0.0, (wanted - own) / (1 - own))
    dimmed = min(1.0, wanted / own)
    red, green, blue = ((part * dimmed * (1 - white) + white) ** (1 / GAMMA) for part in light)
    return to_hex((red, green, blue))
