"""The parameters of a law, by the robust fit that Chinchilla's was."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from threadpoolctl import threadpool_limits

from gptexp.laws.law import Law
from gptexp.laws.points import Array, Points

DELTA = (
    1e-3  # of Huber's loss, in logarithms of the loss: beyond a tenth of a percent, it is linear
)
STARTS = 8  # of the grid's best, from which a fit begins
STEP = 1e-30  # of complex derivatives, which lose nothing to rounding


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


def fit_law(law: Law, points: Points, begin: Array | None = None) -> Fit:
    """The law's parameters with the least objective: from the best of a grid, or from `begin`."""
    starts = _best_starts(law, points) if begin is None else [begin]
    return min((_descend(law, points, start) for start in starts), key=lambda fit: fit.objective)


def objective(residuals: Array) -> Array:
    """The sum of Huber's loss with DELTA over the last dimension [..., row].

    `residuals` are logarithms of the loss by the law less those that were measured.
    """
    size = np.abs(residuals)
    return np.where(size < DELTA, size**2 / 2, DELTA * (size - DELTA / 2)).sum(axis=-1)


def derivatives(law: Law, at: Array, points: Points) -> Array:
    """How the logarithm of the loss goes with each coordinate [row, parameter], by complex steps.

    Squire and Trapp 1998; exact to rounding.
    """
    moved = at + 1j * STEP * np.eye(len(at))
    return law.log_loss(moved, points).imag.T / STEP


def _best_starts(law: Law, points: Points) -> list[Array]:
    starts = law.starts(points)
    scores = objective(law.log_loss(starts, points) - np.log(points.loss))
    return list(starts[np.argsort(scores)[:STARTS]])


def _descend(law: Law, points: Points, start: Array) -> Fit:
    log_loss = np.log(points.loss)
    low, high = law.bounds()
    inside = np.clip(start, low + 1e-9, high - 1e-9)
    found = least_squares(
        lambda at: law.log_loss(at, points) - log_loss,
        inside,
        jac=lambda at: derivatives(law, at, points),
        bounds=(low, high),
        loss="huber",
        f_scale=DELTA,
        x_scale="jac",
        xtol=1e-10,
        ftol=1e-12,
        gtol=1e-12,
        max_nfev=1000,
    )
    return Fit(law, found.x, float(found.cost))
