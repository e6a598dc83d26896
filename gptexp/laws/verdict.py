"""Whether a law holds: it may fit what it has seen and yet foretell nothing."""

import numpy as np

from gptexp.laws.judge import JudgedLaw
from gptexp.laws.points import Points

TIMES = 3  # the error in sample, before a held-out error is too much
ENOUGH = 0.01  # a held-out error that is no fault, however well the law fits what it has seen
LEAST_R2 = 0.5


def why_not(judged: JudgedLaw, points: Points) -> str:
    """Why the law does not hold for these points, in words; empty where it does.

    It does not where it explains less than LEAST_R2 of the variance, where nothing could be held
    out, or where its median error on what was held out is more than ENOUGH and more than TIMES the
    one on what it was fitted to.
    """
    if not judged.r2 >= LEAST_R2:
        return f"it explains {share(max(0.0, judged.r2), 0)} of the variance of the losses"
    if judged.error is None:
        return "untested: there are too few sizes to leave the largest out and fit the rest"
    inside = in_sample(judged, points)
    side, worst = max(judged.held_out.items(), key=lambda item: item[1].error)
    if worst.error > max(ENOUGH, TIMES * inside):
        return (
            f"it misses the largest {side}, fitted without them, by {share(worst.error)}, and "
            f"what it was fitted to by {share(inside)}"
        )
    return ""


def in_sample(judged: JudgedLaw, points: Points) -> float:
    """The median relative error on the points that it was fitted to, as a share of 1."""
    return float(np.median(np.abs(judged.fit.loss(points) / points.loss - 1)))


def share(value: float, decimals: int = 2) -> str:
    """A share of 1 as a percentage: `0.71%`."""
    return f"{100 * value:.{decimals}f}%"
