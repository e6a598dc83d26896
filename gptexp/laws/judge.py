"""Laws fitted, with what is known of each: intervals, what is not identified, held-out error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gptexp.laws.bootstrap import DRAWS, LEVEL, draw_fits
from gptexp.laws.fit import Fit, fit_law, one_thread
from gptexp.laws.held_out import HeldOut, hold_out
from gptexp.laws.law import Law
from gptexp.laws.points import Array, Points


@dataclass(frozen=True)
class Interval:
    """Between what values a parameter lies, with the probability LEVEL."""

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

    @property
    def error(self) -> float | None:
        """The larger held-out error: what laws are compared by; None where there is none."""
        return max((one.error for one in self.held_out.values()), default=None)


def judge_laws(
    laws: Sequence[Law], points: Points, draws: int = DRAWS, seed: int = 0
) -> list[JudgedLaw]:
    """The laws by held-out error, the best first; those without one come last."""
    with one_thread():
        judged = [judge(law, points, draws, seed) for law in laws]
    return sorted(judged, key=lambda one: np.inf if one.error is None else one.error)


def judge(law: Law, points: Points, draws: int, seed: int) -> JudgedLaw:
    """One law, fitted and judged."""
    fit = fit_law(law, points)
    drawn = draw_fits(fit, points, draws, seed)
    tail = 100 * (1 - LEVEL) / 2
    edges = zip(law.parameters, np.percentile(drawn, [tail, 100 - tail], axis=0).T, strict=True)
    intervals = {
        p.name: Interval(float(p.value(low)), float(p.value(high))) for p, (low, high) in edges
    }
    sides = {"models": points.n, "data": points.unique if law.of_repeats else points.tokens}
    held_out = {name: hold_out(law, points, by) for name, by in sides.items()}
    return JudgedLaw(
        fit,
        r2=r_squared(points.loss, fit.loss(points)),
        draws=drawn,
        intervals=intervals,
        unidentified=_unidentified(fit),
        held_out={name: one for name, one in held_out.items() if one is not None},
    )


def r_squared(measured: Array, predicted: Array) -> float:
    """The share of the variance of `measured` that `predicted` explains."""
    squares = ((measured - predicted) ** 2).sum()
    return float(1 - squares / ((measured - measured.mean()) ** 2).sum())


def _unidentified(fit: Fit) -> dict[str, str]:
    """Why the points do not tell a parameter, by its name."""
    near = 1e-3
    found = {}
    for parameter, value in zip(fit.law.parameters, fit.at, strict=True):
        low, high = parameter.coordinate(parameter.low), parameter.coordinate(parameter.high)
        if not near < (value - low) / (high - low) < 1 - near:
            found[parameter.name] = f"at the edge of what was tried, {parameter.value(value):g}"
    return found
