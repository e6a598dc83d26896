"""What to measure next: the points that narrow most, for what they cost, what a law leaves open.

With J [row, parameter] the derivatives of the logarithm of the loss at the points that were
measured, s their noise, and R the precision that the bounds of the parameters alone give, the
covariance of the parameters is about V = (J'J / s^2 + R)^-1. One more point with the derivatives j
makes its determinant smaller by the factor 1 + j'Vj / s^2: who asks for the largest has a design
that is locally D-optimal (Fedorov 1972, "Theory of Optimal Experiments"), with R the Bayesian one
(Chaloner and Verdinelli 1995, "Bayesian Experimental Design: A Review"). A target with the
derivatives g has the variance g'Vg, which the point makes smaller by (g'Vj)^2 / (s^2 + j'Vj): there
the design is c-optimal.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from gptexp.laws.bootstrap import LEVEL
from gptexp.laws.fit import Fit, derivatives
from gptexp.laws.points import Array, Points

WORTH = 1 / 3  # of the most that any point narrows: less is not worth a run
LEAST_NOISE = 1e-5  # of the logarithm of a loss, where a law fits better than runs can
WIDTH = NormalDist().inv_cdf((1 + LEVEL) / 2)  # half of an interval, in standard deviations


@dataclass(frozen=True)
class Prediction:
    """A loss by a law, and between what values it lies with the probability LEVEL."""

    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Suggestion:
    """One of the candidates."""

    row: int  # among them
    expected: Prediction  # of the loss that a run of it will have, its noise included
    narrowing: float  # share by which it makes the interval narrower


class Known:
    """What is known of the parameters of a law: see the formulas above."""

    def __init__(self, fit: Fit, points: Points) -> None:
        self.fit = fit
        self.noise = noise(fit, points)
        low, high = fit.law.bounds()
        self.precision = np.diag(12 / (high - low) ** 2)  # of a uniform distribution
        self.learn(points)

    def learn(self, points: Points) -> None:
        """Count points as measured; their losses are not read."""
        slopes = self.slopes(points)
        self.precision = self.precision + slopes.T @ slopes / self.noise**2
        self.covariance = np.linalg.inv(self.precision)

    def slopes(self, points: Points) -> Array:
        """Derivatives [row, parameter] of the logarithm of the loss."""
        return derivatives(self.fit.law, self.fit.at, points)

    def variance(self, points: Points) -> Array:
        """The variance [row] of the logarithm of the loss by the law."""
        slopes = self.slopes(points)
        return np.einsum("ip,pq,iq->i", slopes, self.covariance, slopes)

    def narrowings(self, candidates: Points, target: Points | None) -> Array:
        """How much narrower [row] each candidate would make the interval, as a share of 1.

        That of the loss at the target; without one, the intervals of the parameters in their
        geometric mean.
        """
        variance = self.variance(candidates)
        if target is None:
            determinant = 1 + variance / self.noise**2
            return 1 - determinant ** (-0.5 / len(self.fit.at))
        [slope] = self.slopes(target)
        moved = self.covariance @ slope
        explained = (self.slopes(candidates) @ moved) ** 2 / (self.noise**2 + variance)
        return 1 - np.sqrt(np.clip(1 - explained / (slope @ moved), 0, 1))

    def predict(self, point: Points, with_noise: bool = False) -> Prediction:
        """The loss of one point: by the law, or with its noise, of a run."""
        variance = self.variance(point)[0] + with_noise * self.noise**2
        half, loss = WIDTH * np.sqrt(variance), self.fit.loss(point)[0]
        return Prediction(float(loss), float(loss * np.exp(-half)), float(loss * np.exp(half)))


def next_point(
    known: Known, candidates: Points, flops: Array, target: Points | None = None
) -> Suggestion:
    """The candidate to measure next, of which `known` has not learned yet.

    It has the largest -log(1 - narrowing) per FLOP of those that narrow at least WORTH times what
    the best does: per FLOP the cheapest points tell most, and next to nothing.
    """
    gains = -np.log1p(-known.narrowings(candidates, target))
    is_worth = gains >= WORTH * gains.max()
    best = int(np.argmax(np.where(is_worth, gains / flops, -1.0)))
    expected = known.predict(candidates.take(np.array([best])), with_noise=True)
    return Suggestion(best, expected, narrowing=float(-np.expm1(-gains[best])))


def noise(fit: Fit, points: Points) -> float:
    """The standard deviation of the logarithm of the loss around the law."""
    residuals = np.log(points.loss / fit.loss(points))
    free = max(1, len(points) - len(fit.at))
    return max(LEAST_NOISE, float(np.sqrt((residuals**2).sum() / free)))
