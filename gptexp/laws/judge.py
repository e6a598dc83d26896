"""Laws fitted, with what is known of each: intervals, what is not identified, held-out error."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gptexp.laws.bootstrap import DRAWS, ENDS, draw_fits, scatter
from gptexp.laws.fit import Fit, fit_law, one_thread
from gptexp.laws.held_out import HeldOut, hold_out, sides
from gptexp.laws.identified import unidentified
from gptexp.laws.law import Law
from gptexp.laws.points import Array, Points


@dataclass(frozen=True)
class Interval:
    """Between what values a parameter lies, with the probability bootstrap.LEVEL."""

    low: float
    high: float


@dataclass(frozen=True)
class JudgedLaw:
    """A law fitted to points, and how far that can be trusted."""

    fit: Fit
    r2: float  # of the losses that it was fitted to
    draws: Array  # coordinates [draw, parameter]: see bootstrap
    intervals: dict[str, Interval]  # by parameter
    unidentified: dict[str, str]  # why the points do not tell a parameter
    held_out: dict[str, HeldOut]  # by what was left out: models, data
    not_held_out: dict[str, str] = field(default_factory=dict)  # why nothing could be
    scatter: str = ""  # what the intervals hold, as a phrase: see bootstrap.Scatter

    @property
    def error(self) -> float | None:
        """The largest held-out error: what laws are compared by; None where there is none."""
        return max((held.error for held in self.held_out.values()), default=None)


def lacking(laws: Sequence[Law], points: Points) -> dict[str, str]:
    """Why a law cannot be fitted to the points, by its name: `needs 3 sizes of model, ...`."""
    return {law.name: reason for law in laws if (reason := law.lacks(points))}


def judge_laws(
    laws: Sequence[Law], points: Points, draws: int = DRAWS, seed: int = 0
) -> list[JudgedLaw]:
    """The laws by held-out error, the best first; those without one come last.

    Laws that cannot be fitted are left out: see `lacking`.
    """
    with one_thread():
        judged = [judge(law, points, draws, seed) for law in laws if not law.lacks(points)]
    return sorted(judged, key=lambda law: np.inf if law.error is None else law.error)


def judge(law: Law, points: Points, draws: int, seed: int) -> JudgedLaw:
    """One law, fitted and judged."""
    fit = fit_law(law, points)
    drawn = draw_fits(fit, points, draws, seed)
    edges = np.percentile(drawn, ENDS, axis=0, method="weibull").T
    tried = {name: hold_out(law, points, largest) for name, largest in sides(points).items()}
    return JudgedLaw(
        fit,
        r2=r_squared(points.loss, fit.loss(points)),
        draws=drawn,
        intervals={
            one.name: Interval(float(one.value(low)), float(one.value(high)))
            for one, (low, high) in zip(law.parameters, edges, strict=True)
        },
        unidentified=unidentified(fit, points, edges),
        held_out={name: result for name, result in tried.items() if isinstance(result, HeldOut)},
        not_held_out={name: result for name, result in tried.items() if isinstance(result, str)},
        scatter=str(scatter(fit, points)),
    )


def r_squared(measured: Array, predicted: Array) -> float:
    """The share of the variance of `measured` that `predicted` explains."""
    squares = ((measured - predicted) ** 2).sum()
    return float(1 - squares / ((measured - measured.mean()) ** 2).sum())
