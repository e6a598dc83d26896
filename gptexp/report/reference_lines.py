"""Horizontal lines behind curves: the losses that counting reaches, each with its name."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

NEAR = 0.2  # of the axis' span: a line so far beyond an end is still brought into the figure

INK = "#808080"  # seen on white and on black

FONT = 7.0  # points

POINTS = 72.0  # to the inch

HINTED = 1.1  # times the exact width, at most: letters of a PNG stand on whole pixels

MOST_ROOM = 0.5  # share of the width that names may take

Level = tuple[int, float]  # an order and its loss


def draw(figure: Figure, axes: Axes, losses: Sequence[float]) -> None:
    """Draw losses of order 1, 2, ... as dotted lines that end in their names, right of all else.

    To be called last, when the axes have their limits and the figure its legend. Of lines above or
    below the axis only near ones are drawn, since room for a far one would flatten the curves.
    """
    shown = _with_room_above_and_below(axes, list(enumerate(losses, start=1)))
    if not shown:
        return
    engine = figure.get_layout_engine()
    assert engine is not None, "without one, the axes have no size yet"
    engine.execute(figure)
    box = axes.get_window_extent().transformed(figure.dpi_scale_trans.inverted())  # in inches
    low, high = axes.get_ylim()
    names = _together(shown, 1.2 * FONT / POINTS * (high - low) / box.height)
    widest = max(TextPath((0, 0), name, size=FONT).get_extents().width for name, _ in names)
    share = min((HINTED * widest + FONT) / POINTS / box.width, MOST_ROOM)
    _leave_room_right(axes, share)
    place = axes.get_yaxis_transform()  # x as a share of the width
    for _, loss in shown:
        axes.plot([0, 1 - share], [loss] * 2, ":", color=INK, lw=0.9, transform=place, zorder=1)
    start = 1 - share + 0.4 * FONT / POINTS / box.width
    for name, loss in names:
        axes.text(start, loss, name, fontsize=FONT, color=INK, va="center", transform=place)


def _with_room_above_and_below(axes: Axes, levels: Sequence[Level]) -> list[Level]:
    """Move the ends of the axis to near levels; return those that it then holds, from below."""
    low, high = axes.get_ylim()
    span = high - low
    shown = [level for level in levels if low - NEAR * span <= level[1] <= high + NEAR * span]
    ends = [loss + side * 0.04 * span for _, loss in shown for side in (-1, 1)]
    axes.set_ylim(min([low, *ends]), max([high, *ends]))
    return sorted(shown, key=lambda level: level[1])


def _leave_room_right(axes: Axes, share: float) -> None:
    """Let the axis end later, so that nothing is drawn in that share of the width."""
    scale = axes.get_xaxis().get_transform()  # to where distances on paper are differences
    left, right = (float(end) for end in scale.transform(axes.get_xlim()))
    end = left + (right - left) / (1 - share)
    axes.set_xlim(right=float(scale.inverted().transform(end)))


def _together(levels: Sequence[Level], apart: float) -> list[tuple[str, float]]:
    """The names and the losses they stand at; of lines nearer than `apart` one, in their middle.

    `levels` from below; so are the names, and they are no nearer than that.
    """
    rows: list[list[Level]] = []
    for level in levels:
        if rows and level[1] - _middle(rows[-1]) < apart:
            rows[-1].append(level)
        else:
            rows.append([level])
    return [
        (f"{'-, '.join(str(order) for order, _ in sorted(row))}-gram counts", _middle(row))
        for row in rows
    ]


def _middle(row: Sequence[Level]) -> float:
    return sum(loss for _, loss in row) / len(row)
