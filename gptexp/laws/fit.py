"""The parameters of a law, by the robust fit that Chinchilla's was; many fits go side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from gptexp.laws.law import Law
from gptexp.laws.points import Array, Points

# Of Huber's loss, in logarithms of the loss: beyond a tenth of a percent, it is linear.
DELTA = 1e-3
STARTS = 16  # of the grid's best, from which a fit begins
STEP = 1e-6  # of derivatives by differences: what is left out and what is rounded, both below 1e-9
AT_ONCE = 60_000  # numbers that a step of fits side by side works on: more leave the cache
CHANGE = 1e-8  # of an objective, as a share of it: what ends a fit
STEPS = 200  # what ends it too, in a valley that goes on and on


@dataclass(frozen=True)
class Fit:
    """A law with its parameters."""

    law: Law
    at: Array  # see Law: coordinates [parameter]
    objective: float  # see `objective`

    @property
    def values(self) -> dict[str, float]:
        """The parameters by name."""
        return self.law.values(self.at)

    def loss(self, points: Points) -> Array:
        """The loss [row] that the law says; of `points`, their own losses are not read."""
        return np.exp(self.law.log_loss(self.at, points))


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra by one thread: of matrices so narrow, more take ten times as long."""
    with threadpool_limits(1):
        yield


def fit_law(law: Law, points: Points) -> Fit:
    """The law's parameters with the least objective, from the best places of a grid."""
    starts = law.starts(points)
    scores = objective(law.log_loss(starts, points) - points.log_loss)
    best = starts[np.argsort(scores)[:STARTS]]
    at, scores = descend(law, points, best, np.tile(points.log_loss, (len(best), 1)))
    least = np.argmin(scores)
    return Fit(law, at[least], float(scores[least]))


def fit_draws(fit: Fit, points: Points, log_losses: Array) -> Array:
    """Coordinates [draw, parameter] of fits to other losses [draw, row], which begin at `fit`."""
    at_once = max(1, AT_ONCE // (len(points) * len(fit.at)))
    parts = [log_losses[i : i + at_once] for i in range(0, len(log_losses), at_once)]
    return np.concatenate(
        [descend(fit.law, points, np.tile(fit.at, (len(part), 1)), part)[0] for part in parts]
    )


def objective(residuals: Array) -> Array:
    """The sum of Huber's loss with DELTA over the last dimension [..., row].

    `residuals` are logarithms of the loss by the law less those that were measured.
    """
    size = np.abs(residuals)
    return np.where(size < DELTA, size**2 / 2, DELTA * (size - DELTA / 2)).sum(axis=-1)


def derivatives(law: Law, at: Array, points: Points) -> Array:
    """How the logarithm of the loss goes with coordinates [..., parameter]: [..., row, parameter].

    By differences to both sides.
    """
    moves = STEP * np.eye(at.shape[-1])
    above, below = (law.log_loss(at[..., None, :] + sign * moves, points) for sign in (1, -1))
    return np.moveaxis((above - below) / (2 * STEP), -2, -1)


def descend(law: Law, points: Points, begin: Array, log_losses: Array) -> tuple[Array, Array]:
    """Fits side by side: coordinates [fit, parameter] from `begin` on, and objectives [fit].

    Newton's steps of Huber's loss, to which rows beyond DELTA add no curvature; so each fit is held
    back by the curvature that bounds it from above (that of weights: Huber and Ronchetti 2009,
    7.8), and the more so the less its last step kept of what it promised, as by Levenberg 1944 and
    Marquardt 1963. Where scipy's least_squares ends, in a tenth of the time for hundreds of fits.
    """
    low, high = law.bounds()
    at = np.clip(begin, low, high)
    residuals = law.log_loss(at, points) - log_losses
    scores = objective(residuals)
    damping = np.full(len(at), 0.1)
    going = np.arange(len(at))
    for _ in range(STEPS):
        step, promised = _step(law, at[going], points, residuals[going], damping[going])
        tried = np.clip(at[going] + step, low, high)
        left = law.log_loss(tried, points) - log_losses[going]
        score = objective(left)
        gain = scores[going] - score
        better = gain > 0
        ended = better & (gain < CHANGE * scores[going]) & (damping[going] < 1)
        ended |= ~better & (damping[going] > 1e8)
        at[going[better]], residuals[going[better]] = tried[better], left[better]
        scores[going[better]] = score[better]
        kept = [gain < promised / 4, gain < promised * 3 / 4]
        damping[going] *= np.select(kept, [4.0, 1.0], 1 / 3)
        if not len(going := going[~ended]):
            break
    return at, scores


def _step(
    law: Law, at: Array, points: Points, residuals: Array, damping: Array
) -> tuple[Array, Array]:
    """What each fit goes by [fit, parameter], and by how much its objective should be less [fit].

    A coordinate stays that is driven over a bound.
    """
    low, high = law.bounds()
    slopes = derivatives(law, at, points)
    size = np.abs(residuals)
    weights = DELTA / np.maximum(size, DELTA)
    uphill = np.einsum("fr,frp->fp", weights * residuals, slopes)
    curved = (size < DELTA) + damping[:, None] * weights
    curvature = (slopes * curved[..., None]).swapaxes(-1, -2) @ slopes
    free = ~((at <= low) & (uphill > 0) | (at >= high) & (uphill < 0))
    curvature *= free[:, :, None] & free[:, None, :]
    own = np.einsum("fpp->fp", curvature)
    own += 1e-9 * own + 1e-15 + ~free
    step = -np.linalg.solve(curvature, (uphill * free)[..., None])[..., 0]
    return step, -(uphill * step).sum(axis=1) / 2
