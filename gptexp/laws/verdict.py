"""Whether a law holds: it may fit what it has seen and yet foretell nothing."""

import math

import numpy as np

from gptexp.laws.held_out import HeldOut
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.points import Points
from gptexp.laws.power_law import LawOfOptima

TIMES = 3  # the error in sample, before a held-out error is too much
ENOUGH = 0.01  # a held-out error that is no fault, however well the law fits what it has seen
ENOUGH_OF_OPTIMA = 0.25  # the same of a best size or learning rate: by that, the loss hardly moves
TOO_MUCH = 0.05  # a held-out error that is one, however badly the law fits what it has seen
LEAST_R2 = 0.5
NEAR = 1.25  # times the limit that an error is above or below it, and a new seed may change sides
NEAR_R2 = 0.05  # from LEAST_R2


def why_not(judged: JudgedLaw, points: Points) -> str:
    """Why the law does not hold for these points, in words; empty where it does.

    It does not where it explains less than LEAST_R2 of the variance, where nothing could be held
    out, or where its median error on what was held out is more than ENOUGH and more than TIMES the
    one on what it was fitted to, or more than TOO_MUCH.
    """
    return _why_not(judged.r2, judged.held_out, in_sample(judged, points), ENOUGH, TOO_MUCH)


def narrowly(judged: JudgedLaw, points: Points) -> str:
    """How near the verdict is to the other one, in words; empty where it is not."""
    if abs(judged.r2 - LEAST_R2) < NEAR_R2:
        return f"it explains {share(judged.r2, 1)} of the variance, and the limit is {LEAST_R2:.0%}"
    limit = _limit(in_sample(judged, points), ENOUGH, TOO_MUCH)
    error = judged.error
    if error is None or judged.r2 < LEAST_R2 or not limit / NEAR < error < limit * NEAR:
        return ""
    return f"its held-out error is {share(error)}, and the limit {share(limit)}"


def why_no_optimum(law: LawOfOptima) -> str:
    """Why a law of what is best does not hold, by the same rules with ENOUGH_OF_OPTIMA."""
    fit = law.fits[0]
    return _why_not(fit.r2, law.held_out, fit.in_sample, ENOUGH_OF_OPTIMA)


def _why_not(
    r2: float,
    held_out: dict[str, HeldOut],
    inside: float,
    enough: float,
    too_much: float = math.inf,
) -> str:
    if not r2 >= LEAST_R2:
        return f"it explains {share(max(0.0, r2), 0)} of the variance"
    if not held_out:
        return "untested: there are too few sizes to leave the largest out and fit the rest"
    side, worst = max(held_out.items(), key=lambda item: item[1].error)
    if worst.error > _limit(inside, enough, too_much):
        return (
            f"it misses the largest {side}, fitted without them, by {share(worst.error)}, and "
            f"what it was fitted to by {share(inside)}"
        )
    return ""


def _limit(inside: float, enough: float, too_much: float) -> float:
    """The largest held-out error of a law that holds; `inside` is what it was fitted to."""
    return min(too_much, max(enough, TIMES * inside))


def in_sample(judged: JudgedLaw, points: Points) -> float:
    """The median relative error on the points that it was fitted to, as a share of 1."""
    return float(np.median(np.abs(judged.fit.loss(points) / points.loss - 1)))


def share(value: float, decimals: int = 2) -> str:
    """A share of 1 as a percentage: `0.71%`."""
    return f"{100 * value:.{decimals}f}%"
