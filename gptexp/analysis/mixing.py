"""The predictions of several models as one: their mean, or two of them by a weight.

Everything is the natural logarithm of the probability that a model gave to each token, [tokens].
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LogProbs = NDArray[np.float64]

PRECISION = 1e-5  # of a weight


class Fit(NamedTuple):
    """Which of several mixes best with a model, by what weight."""

    number: int  # counted from 0
    weight: float  # in [0, 1]
    loss: float  # nats per token


def averages(models: Sequence[LogProbs]) -> Iterator[LogProbs]:
    """The mean probabilities of the first model, of the first two, and so on."""
    total = np.full_like(models[0], -np.inf)
    for count, model in enumerate(models, start=1):
        total = np.logaddexp(total, model)
        yield total - math.log(count)


def mixture(first: LogProbs, second: LogProbs, weight: float) -> LogProbs:
    """`weight` of the second, the rest of the first."""
    with np.errstate(divide="ignore"):  # a weight of 0 or 1 leaves one of them
        return np.logaddexp(first + np.log1p(-weight), second + np.log(weight))


def best_mixture(first: LogProbs, others: Sequence[LogProbs]) -> Fit:
    """The one of `others` that lowers the loss of `first` most, at the weight that does it."""
    fits = [_weighed(first, other) for other in others]
    number = min(range(len(fits)), key=lambda i: fits[i][1])
    return Fit(number, *fits[number])


def _weighed(first: LogProbs, second: LogProbs) -> tuple[float, float]:
    """The weight of the second at which the loss is least, and that loss.

    The loss is convex in the weight, so a bounded search finds its one minimum.
    """
    from scipy.optimize import minimize_scalar  # half a second to import

    minimum = minimize_scalar(
        lambda weight: -mixture(first, second, weight).mean(),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": PRECISION},
    )
    return float(minimum.x), float(minimum.fun)
