"""What is best by a law of optima, over what it goes with: in words and as a drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from gptexp.laws.bootstrap import ENDS, LEVEL
from gptexp.laws.isoflop import NAME as ISOFLOP
from gptexp.laws.points import Array
from gptexp.laws.power_law import LawOfOptima, Profile, columns
from gptexp.laws.valley import members, nearly_one
from gptexp.laws.verdict import why_no_optimum
from gptexp.report import law_charts, style
from gptexp.report.figures import ReportFigure, legend_rows
from gptexp.text import plural, short

MOST_LINES = 8  # that one figure can tell apart

PLACES = 50  # of a line

FAR = 5  # times the highest of the optima, or the lowest by it: there a band ends

AXES = {
    "flops": law_charts.FLOPS,
    "n": law_charts.PARAMETERS,
    "tokens": law_charts.AXES["tokens"],
    "lr": "learning rate",
}


@dataclass(frozen=True)
class Line:
    """What is best, as found and by the law, where all but one thing is about the same."""

    label: str
    value: float  # of that which is about the same
    at: Array  # of what it goes with [point]
    best: Array  # [point]
    x: Array  # [place]
    law: Array
    low: Array  # of the law's band
    high: Array


def drawn(law: LawOfOptima, unit: str) -> list[ReportFigure]:
    """The figures of the law: the losses that its optima come from, and what it says of these.

    `unit` is that of the losses; only of budgets are they drawn.
    """
    return [*([_profiles(law, unit)] if law.profiles else []), _optima(law)]


def before_all(law: LawOfOptima) -> str:
    """What stands before everything that the law says: that it does not hold."""
    why = why_no_optimum(law)
    return f"This law does not hold: {why}. " if why else ""


def _profiles(law: LawOfOptima, unit: str) -> ReportFigure:
    """Losses over sizes for each budget, with the parabolas."""
    budgets = [law.profiles[i] for i in spread(len(law.profiles))]
    labels = [f"{law_charts.power(profile.flops)} FLOPs" for profile in budgets]
    fewer = f" Drawn are {len(budgets)} of {len(law.profiles)} budgets."
    return ReportFigure(
        name=f"law_{law.name}_profiles",
        title="The loss over sizes that cost the same",
        alt=f"Loss over parameters for {plural(len(budgets), 'budget')}, from {labels[0]} to "
        f"{labels[-1]}, each with a parabola and its lowest place",
        caption=f"{before_all(law)}Points are measured losses, the mean over seeds; a line is the "
        "parabola through those of one budget, and a star its lowest place."
        + (fewer if len(budgets) < len(law.profiles) else ""),
        legend=legend_rows(labels, style.styles([(profile.flops,) for profile in budgets])),
        draw=lambda size, legend: profile_chart(budgets, labels, unit, size, legend),
    )


def profile_chart(
    budgets: Sequence[Profile],
    labels: Sequence[str],
    unit: str,
    size: tuple[float, float],
    legend: bool,
) -> Figure:
    """Losses as points over sizes, the parabola of each budget, and a star where it is lowest."""
    figure, axes = style.canvas(size)
    styled = style.styles([(profile.flops,) for profile in budgets])
    for profile, look in zip(budgets, styled, strict=True):
        color, _ = look
        places, losses = np.array(profile.sizes).T
        x = np.linspace(places.min(), places.max(), PLACES)
        axes.plot(np.exp(x), profile.valley.loss_at(x), color=color, linewidth=1.4)
        law_charts.draw_points(axes, np.exp(places), losses, look)
        vertex = np.exp(profile.valley.place), profile.valley.loss
        axes.plot(*vertex, marker="*", color=color, markersize=10, markeredgecolor="white")
    law_charts.log_axis(axes, "x", law_charts.PARAMETERS)
    axes.set_ylabel(f"loss, {unit}")
    if legend:
        style.legend(figure, labels, styled)
    return figure


def spread(count: int) -> list[int]:
    """At most MOST_LINES of so many numbers, evenly, with both ends."""
    return np.linspace(0, count - 1, min(count, MOST_LINES)).round().astype(int).tolist()


def _optima(law: LawOfOptima) -> ReportFigure:
    """The first fit of the law: the best size over a budget, or learning rate over size."""
    over, best, other = _names(law)
    every = _lines(law, over, best, other)
    lines = [every[i] for i in spread(len(every))]
    what = f"the best {AXES[best]} over {AXES[over]}"
    apart = f", for each number of {AXES[other]}" if other else ""
    fewer = f" Drawn are {len(lines)} of {len(every)} such lines."
    count = sum(len(line.at) for line in lines)
    return ReportFigure(
        name=f"law_{law.name}",
        title=f"{what[0].upper()}{what[1:]}",
        alt=f"{what} by the law {law.name}{apart}: {count} optima as found, from "
        f"{style.tick(min(line.best.min() for line in lines))} to "
        f"{style.tick(max(line.best.max() for line in lines))}",
        caption=f"{before_all(law)}Points are the lowest places of curves of measured losses. The "
        f"line{'s are' if other else ' is'} the law{apart}, and the shade is its {LEVEL:.0%} "
        f"interval." + (fewer if len(lines) < len(every) else ""),
        legend=legend_rows([line.label for line in lines], _styles(lines)) if other else [],
        draw=lambda size, legend: chart(lines, over, best, size, legend and bool(other)),
    )


def chart(
    lines: Sequence[Line], over: str, best: str, size: tuple[float, float], legend: bool
) -> Figure:
    """Optima as points, and the law of each line with its band; both axes are logarithmic."""
    figure, axes = style.canvas(size)
    styled = _styles(lines)
    optima = np.concatenate([line.best for line in lines])
    ends = optima.min() / FAR, optima.max() * FAR
    for line, look in zip(lines, styled, strict=True):
        color, _ = look
        low, high = np.clip([line.low, line.high], *ends)
        axes.fill_between(line.x, low, high, color=color, alpha=0.14, linewidth=0)
        axes.plot(line.x, line.law, color=color, linewidth=1.4)
        law_charts.draw_points(axes, line.at, line.best, look)
    law_charts.log_axis(axes, "x", AXES[over])
    law_charts.log_axis(axes, "y", f"best {AXES[best]}")
    if over == "flops":
        axes.xaxis.set_major_formatter(law_charts.power)
    if best == "lr":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    if legend:
        style.legend(figure, [line.label for line in lines], styled)
    return figure


def _names(law: LawOfOptima) -> tuple[str, str, str | None]:
    """What the best is over, what is best, and what else it goes with."""
    if law.name == ISOFLOP:
        return "flops", "n", None
    varied = law.fits[0].varied
    over, other = ("n", "tokens") if 0 in varied else ("tokens", "n")
    return over, "lr", other if len(varied) > 1 else None


def _lines(law: LawOfOptima, over: str, best: str, other: str | None) -> list[Line]:
    names = ("flops",) if law.name == ISOFLOP else ("n", "tokens")
    known = [optimum for optimum in law.optima if best in optimum]
    x, optima = columns(known, *names), columns(known, best)[:, 0]
    place = names.index(over)
    across = x[:, names.index(other)] if other else np.ones(len(x))
    return [
        _line(law, x[rows], optima[rows], place, (x[:, place].min(), x[:, place].max()), other)
        for rows in members(nearly_one(across))
    ]


def _line(
    law: LawOfOptima,
    x: Array,
    best: Array,
    place: int,
    ends: tuple[float, float],
    other: str | None,
) -> Line:
    fit = law.fits[0]
    along = np.tile(np.exp(np.log(x).mean(axis=0)), (PLACES, 1))
    along[:, place] = np.geomspace(*ends, PLACES)
    drawn = fit.draws[:, :1] + fit.draws[:, 1:] @ np.log(along[:, fit.varied]).T
    low, high = np.exp(np.percentile(drawn, ENDS, axis=0))
    value = float(along[0, 1 - place]) if other else 0.0
    noun = law_charts.AXES["tokens"] if other == "tokens" else law_charts.PARAMETERS
    return Line(
        label=f"{short(value, digits=3)} {noun}" if other else "",
        value=value,
        at=x[:, place],
        best=best,
        x=along[:, place],
        law=fit.predict(along),
        low=low,
        high=high,
    )


def _styles(lines: Sequence[Line]) -> list[style.Styled]:
    return style.styles([(line.value,) for line in lines])
