"""The figures of the best loss over what varies, in words and as drawings."""

import re
from collections.abc import Sequence

from gptexp.analysis.groups import Statistic
from gptexp.report import loss_charts, style
from gptexp.report.figures import ReportFigure, legend_rows
from gptexp.report.loss_charts import Cell
from gptexp.report.points import (
    COUNTED,
    FEW,
    PARAMETERS,
    TOKENS,
    Factor,
    Point,
    grid,
    series,
)
from gptexp.report.results import MOST_GROUPS, spread
from gptexp.report.style import WIDE
from gptexp.text import listed, plain

MOST_FIGURES = 6  # of losses over one factor each

MOST_SIDE = 24  # values of a factor that a map has room for

MOST_NAME = 60  # letters in the name of a file


def drawn(points: Sequence[Point], factors: Sequence[Factor]) -> list[ReportFigure]:
    """The figures that a sweep asks for.

    A map where two factors vary, or the two sizes and more; the loss over each factor that is a
    size, has a shape, or is the only one.
    """
    made = [figure for pair in _pairs(factors) for figure in maps(points, *pair)]
    over = [f for f in factors if f.is_count or f.is_curve or len(factors) == 1]
    made += [losses(points, factor) for factor in over[:MOST_FIGURES]]
    return list({figure.name: figure for figure in made}.values())  # foreign keys may share a name


def losses(points: Sequence[Point], over: Factor) -> ReportFigure:
    """The best loss over a factor, as a line for each value of the others."""
    every = series(points, over)
    lines = spread(every, MOST_GROUPS)
    lowest = min(points, key=lambda point: point.best.mean)
    styled = style.styles([line.values for line in lines])
    legend = [loss_charts.legend_words(line, over) for line in lines]
    best = f"{lowest.best.mean:.4f} {lowest.unit} at {_at(over, lowest)}"
    fewer = f" {len(lines)} of {len(every)} series are drawn." if len(lines) < len(every) else ""
    star = f" {_star(over)}" if loss_charts.stars(lines) else ""
    optima = [words for line, words in zip(lines, legend, strict=True) if line.optimum]
    return ReportFigure(
        name=f"loss_by_{_file_name(over)}",
        title=f"Best loss by {over.name}",
        alt=f"Best validation loss over {over.name}, {len(lines)} series; the lowest is {best}"
        + (f"; lowest by a parabola: {', '.join(optima)}" if optima else ""),
        caption=f"{_means(points)} a line joins the lowest means. Intervals far longer than the "
        f"means differ are cut off.{fewer} The lowest mean is {best}.{star}",
        legend=legend_rows(legend, styled) if any(legend) else [],
        draw=lambda size, legend: loss_charts.losses(lines, over, size, legend, lowest.unit),
    )


def maps(points: Sequence[Point], rows: Factor, columns: Factor) -> list[ReportFigure]:
    """The best loss over two factors; over the two sizes, the height of the cliff too.

    None where a map would have no room.
    """
    cells = grid(points, rows, columns)
    if not _has_room((rows, columns)):
        return []
    title = f"{rows.name} and {columns.name}"
    fewer = " Where several groups have one place, the cell is that of the lowest best loss."
    fewer = fewer if len(cells) < len(points) else ""
    numbers = "; ".join(
        f"{_at(rows, point)}, {_at(columns, point)}: best {point.best.mean:.3f}"
        + (f", {point.height.mean:+.3f}" if point.height else "")
        for point in cells.values()
    )
    made = []
    if {rows.key, columns.key} == {PARAMETERS, TOKENS}:
        made.append(
            ReportFigure(
                name="cliff_map",
                title="The cliff over model size and dataset size",
                alt=f"Heat map of the height of the overfit cliff. {numbers}",
                caption="How far the validation loss is above its best at the end, and below it "
                f"that best; means over the seeds, in {points[0].unit}.{fewer}",
                legend=[],
                draw=lambda size, legend: loss_charts.heat_map(
                    {at: _height(point) for at, point in cells.items()}, rows, columns, False
                ),
                shapes=(WIDE,),
            )
        )
    made.append(
        ReportFigure(
            name="loss_map",
            title=f"Best loss by {title}",
            alt=f"Heat map of the best validation loss over {title}. {numbers}",
            caption=f"The best validation loss in {points[0].unit}, framed where it is lowest, and "
            f"below it the 95% interval or the number of seeds. {_means(points)} colours end where "
            f"losses are far from most.{fewer}",
            legend=[],
            draw=lambda size, legend: loss_charts.heat_map(
                {at: _loss(point.best) for at, point in cells.items()}, rows, columns, True
            ),
            shapes=(WIDE,),
        )
    )
    return made


def left_out(points: Sequence[Point], factors: Sequence[Factor], figures: int) -> str:
    """A sentence on why there is no figure, or no map; empty where there is nothing to say."""
    if not points:
        return "No group has a finished run with a finite loss yet."
    if not factors:
        return "No config key but the seed varies between the groups that have a loss."
    if not all(map(_has_room, _pairs(factors))):
        return f"A map of more than {MOST_SIDE} values on a side is left out."
    if figures:
        return ""
    return (
        f"{listed([f.name for f in factors])} vary, none of them over {FEW} numbers or more: "
        "gptexp plot with --by and two of them draws their map."
    )


def _pairs(factors: Sequence[Factor]) -> list[tuple[Factor, Factor]]:
    """The rows and columns of the one map, if there is one."""
    by_key = {factor.key: factor for factor in factors}
    if PARAMETERS in by_key and TOKENS in by_key:
        return [(by_key[PARAMETERS], by_key[TOKENS])]
    # A count beside the keys that make it vary is none of its own.
    own = [f for f in factors if not set(COUNTED.get(f.key, ())) & by_key.keys()]
    if len(own) != 2:
        return []
    first, second = own
    return [
        (first, second) if len(first.scale.values) <= len(second.scale.values) else (second, first)
    ]


def _has_room(pair: tuple[Factor, Factor]) -> bool:
    return max(len(factor.scale.values) for factor in pair) <= MOST_SIDE


def _loss(best: Statistic) -> Cell:
    seeds = f"n = {best.n}" if best.ci95 is None else f"± {best.ci95:.4f}"
    return Cell(best.mean, f"{best.mean:.4f}", seeds)


def _height(point: Point) -> Cell:
    below = f"best {point.best.mean:.3f}"
    if point.height is None:
        return Cell(None, "-", below)
    return Cell(point.height.mean, f"{point.height.mean:+.3f}", below)


def _means(points: Sequence[Point]) -> str:
    """The begin of a sentence on what the numbers are."""
    if all(point.best.n == 1 for point in points):
        return "One finished run each, so there are no intervals;"
    return "Means over the seeds of finished runs with the 95% interval of Student's t;"


def _star(over: Factor) -> str:
    """A sentence on what an optimum is."""
    axis = f"the logarithm of {over.name}" if over.scale.kind == "log" else over.name
    return (
        "A star is the optimum: the vertex of the parabola through the lowest mean and its "
        f"neighbours, in {axis}."
    )


def _at(factor: Factor, point: Point) -> str:
    """Where a point stands, `lr=0.01` or `55,008 parameters`."""
    value = point.at[factor.key]
    return f"{value:,} {factor.key}" if factor.is_count else f"{factor.name}={plain(value)}"


def _file_name(factor: Factor) -> str:
    """The factor's name in letters that every system has in names of files."""
    return re.sub(r"[^A-Za-z0-9]+", "_", factor.name)[:MOST_NAME].strip("_") or "key"
