"""The figures of a law of the loss, in words and as drawings."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gptexp.files import storage_errors, write_atomic
from gptexp.laws import verdict
from gptexp.laws.bootstrap import LEVEL
from gptexp.laws.frontier import Frontier, compute_frontier, data_frontier
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.observed import Observations
from gptexp.laws.points import Array
from gptexp.laws.power_law import LawOfOptima
from gptexp.report import law_charts, law_views, optima_figures, style
from gptexp.report.figures import ReportFigure, legend_rows
from gptexp.report.style import WIDE
from gptexp.text import plural

NAMES = ("curves", "map", "frontier_compute", "frontier_data", "held_out", "residuals")
OF_OPTIMA = ("isoflop_profiles", "isoflop", "step_law")  # by optima_figures

FORMS = ("png", "svg")

FRONTIER = 30  # budgets, or texts, at which the best size is looked for

FEW_DRAWS = 30  # of a frontier

LINE = 110  # letters of a headline

AROUND = 10.0  # times the measured range that a frontier goes on

UNCERTIFIED = "uncertified"  # begins a note of observations

BAND = (
    f"the shade is the {100 * LEVEL:.0f}% band of the law by bootstrap, without a run's own noise"
)


def drawn(seen: Observations, judged: Sequence[JudgedLaw]) -> list[ReportFigure]:
    """The figures of the first law, and of what was held out of all; none without a law."""
    if not judged:
        return []
    best = judged[0]
    made = [
        _curves(seen, best),
        _map(seen, best),
        _compute_frontier(seen, best),
        _data_frontier(seen, best),
        _held_out(seen, judged),
        _residuals(seen, best),
    ]
    return [figure for figure in made if figure is not None]


def draw_law(
    seen: Observations,
    judged: Sequence[JudgedLaw],
    folder: Path,
    best: Sequence[LawOfOptima] = (),
) -> list[Path]:
    """Save the figures of laws in a folder that is there, as PNG and SVG; raises StorageError.

    Those of an earlier fit are replaced.
    """
    for name, form in product((*NAMES, *OF_OPTIMA), FORMS):
        stale = folder / f"law_{name}.{form}"
        with storage_errors(stale):
            stale.unlink(missing_ok=True)
    written = []
    for name, picture in pictures(seen, judged, best).items():
        for form in FORMS:
            written.append(folder / f"{name}.{form}")
            write_atomic(written[-1], partial(picture.savefig, format=form))
    return written


def pictures(
    seen: Observations, judged: Sequence[JudgedLaw], best: Sequence[LawOfOptima] = ()
) -> dict[str, Figure]:
    """The figures by name, to stand alone: what their captions say first is in their headline."""
    every = [(before_all(seen, judged[0]), figure) for figure in drawn(seen, judged)]
    for law in best:
        first = optima_figures.before_all(law)
        every += [(first, figure) for figure in optima_figures.drawn(law, seen.unit)]
    by_name = {}
    for first, figure in every:
        words = [*textwrap.wrap(first if figure.caption.startswith(first) else "", LINE)]
        by_name[figure.name] = picture = figure.draw(WIDE, True)
        picture.axes[0].set_title("\n".join([*words, figure.title]), loc="left", fontsize=8)
    return by_name


def before_all(seen: Observations, best: JudgedLaw) -> str:
    """What stands before everything that a law says: that it does not hold, or is not certain."""
    why = verdict.why_not(best, seen.points)
    words = [f"This law does not hold: {why}."] if why else []
    words += ["Uncertified."] if any(note.startswith(UNCERTIFIED) for note in seen.notes) else []
    return "".join(f"{word} " for word in words)


def _curves(seen: Observations, best: JudgedLaw) -> ReportFigure:
    lines = law_views.curves(best, seen.points)
    law, count = best.fit.law, sum(len(line.sizes) for line in lines)
    moved = (
        " A point with about as many tokens as its curve stands where the law moves it to."
        if any(line.moved for line in lines)
        else ""
    )
    fewer = f" {count} of {len(seen.points)} points are drawn." if count < len(seen.points) else ""
    return ReportFigure(
        name="law_curves",
        title=f"The loss by the law {law.name}",
        alt=f"Loss over parameters by the law {law.name} with a band, and as measured, for "
        f"{'; '.join(line.label for line in lines)}",
        caption=f"{before_all(seen, best)}{law.formula}. Points are measured losses, lines the law "
        f"(dotted where no such size was trained); {BAND}.{moved}{fewer}",
        legend=legend_rows([line.label for line in lines], law_charts.styles(lines)),
        draw=lambda size, legend: law_charts.curves(lines, seen.unit, size, legend),
    )


def _residuals(seen: Observations, best: JudgedLaw) -> ReportFigure:
    points = seen.points
    predicted = best.fit.loss(points)
    percent = 100 * (points.loss / predicted - 1)
    inside = verdict.share(verdict.in_sample(best, points))
    return ReportFigure(
        name="law_residuals",
        title="What the law leaves over",
        alt=f"Measured loss over that of the law {best.fit.law.name}, in percent, over the law's: "
        f"from {percent.min():+.2f}% to {percent.max():+.2f}%, the median size is {inside}",
        caption=f"{before_all(seen, best)}How far each measured loss is from the law's, over the "
        f"law's; half of them are within {inside}. Colours are sizes: where they part, or the "
        "points bend, the formula is wrong and no noise explains it."
        + (_SYMLOG if law_charts.is_far(percent) else ""),
        legend=[],
        draw=lambda size, legend: law_charts.residuals(
            predicted, percent, points.n, seen.unit, size
        ),
        shapes=(WIDE,),
    )


def _map(seen: Observations, best: JudgedLaw) -> ReportFigure | None:
    shown = law_views.loss_map(best, seen.points)
    if shown is None:
        return None
    moved = (
        "; those that saw about as many tokens stand as the law moves them" if shown.moved else ""
    )
    count = plural(len(shown.sizes), "point")
    if shown.cliff_at is None:
        title = f"The loss over model size and {law_charts.AXES[shown.over]}"
        what = f"The loss in {seen.unit}, by the law as ground and as measured as circles"
    else:
        title = "The cliff that the law foretells"
        what = (
            f"What repeats add to the loss, in {seen.unit}, after {style.tick(shown.cliff_at)} "
            "tokens of which so many are unique: by the law as ground, and as measured, less the "
            f"law's loss of as many new tokens, as circles{moved}"
        )
    low, high = (f"{value:.3f}" for value in (shown.value.min(), shown.value.max()))
    return ReportFigure(
        name="law_map",
        title=title,
        alt=f"{title}: by the law {best.fit.law.name} from {low} to {high} {seen.unit}, "
        f"and {count} as measured",
        caption=f"{before_all(seen, best)}{what}. Where a circle has the colour of its ground, the "
        "law is right.",
        legend=[],
        draw=lambda size, legend: law_charts.loss_map(shown, seen.unit, size),
        shapes=(WIDE,),
    )


def _compute_frontier(seen: Observations, best: JudgedLaw) -> ReportFigure | None:
    points = seen.points
    flops = 6 * points.n * points.tokens
    frontier = compute_frontier(_with_few_draws(best), points, _around(flops))
    return _frontier(
        seen,
        best,
        frontier,
        flops,
        name="law_frontier_compute",
        title="The best size for a budget",
        given_as=law_charts.FLOPS,
        what="The size that the law finds best for a budget of 6 N T FLOPs, all tokens new",
    )


def _data_frontier(seen: Observations, best: JudgedLaw) -> ReportFigure | None:
    """Of a law that knows a cliff; another finds the largest model best, of any text."""
    points = seen.points
    if not law_views.has_cliff(best, points):
        return None
    frontier = data_frontier(_with_few_draws(best), points, _around(points.unique))
    return _frontier(
        seen,
        best,
        frontier,
        points.unique,
        name="law_frontier_data",
        title="The best size for a text",
        given_as=law_charts.AXES[law_views.UNIQUE],
        what="The size that the law finds best for a text, trained as long as that helps",
    )


def _frontier(
    seen: Observations,
    best: JudgedLaw,
    frontier: Frontier,
    given: Array,
    *,
    name: str,
    title: str,
    given_as: str,
    what: str,
) -> ReportFigure | None:
    is_known = np.isfinite(frontier.n.value)
    if not is_known.any():
        return None
    measured = np.stack([given, seen.points.n], axis=1)
    inside = (
        "dashed where the best size, its tokens or their repeats are beyond those that were trained"
        if frontier.is_measured.any()
        else "dashed, since no trained model is on it in size, tokens and repeats"
    )
    return ReportFigure(
        name=name,
        title=title,
        alt=f"{title}, by the law {best.fit.law.name}: {_ends(frontier, given_as)}",
        caption=f"{before_all(seen, best)}{what}: {inside}; {BAND}. Grey: the trained models."
        + ("" if is_known.all() else " The line ends where none is too large."),
        legend=[],
        draw=lambda size, legend: law_charts.frontier(frontier, given_as, measured, size),
    )


def _held_out(seen: Observations, judged: Sequence[JudgedLaw]) -> ReportFigure | None:
    errors = law_views.errors(judged)
    if not errors:
        return None
    labels = [one.label for one in errors]
    far = any(law_charts.is_far(one.percent) for one in errors)
    return ReportFigure(
        name="law_held_out",
        title="What the laws foretold",
        alt=f"Errors of what was held out, by law: {'; '.join(labels)}",
        caption="Each law fitted without the largest models, and without the largest data, and how "
        "far its loss for these is from the measured one; beside the names are the medians. This, "
        "and no fit, is what laws are compared by." + (_SYMLOG if far else ""),
        legend=legend_rows(labels, law_charts.error_styles(errors)),
        draw=lambda size, legend: law_charts.held_out(errors, seen.unit, size, legend),
        shapes=(WIDE,),
    )


_SYMLOG = f" Beyond {law_charts.LINEAR:g}% the axis of errors is logarithmic."


def _with_few_draws(best: JudgedLaw) -> JudgedLaw:
    """The law with as many draws as a shade needs: for each, valleys are looked for."""
    return replace(best, draws=best.draws[:FEW_DRAWS])


def _around(values: Array) -> Array:
    return np.geomspace(values.min() / AROUND, values.max() * AROUND, FRONTIER)


def _ends(frontier: Frontier, given: str) -> str:
    """The frontier in words: its first and last place."""
    tick = law_charts.power if given == law_charts.FLOPS else style.tick
    known = np.flatnonzero(np.isfinite(frontier.n.value))
    return ", ".join(
        f"{style.tick(frontier.n.value[i])} parameters at {tick(frontier.given[i])} {given}"
        for i in known[[0, -1]]
    )
