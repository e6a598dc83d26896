"""What every law is: a formula of the loss, and where a fit of it may begin."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from scipy.optimize import nnls

from gptexp.laws.points import Array, Points

LEAST = 1e-6  # of the largest coefficient: what a term begins with that the points do not ask for


@dataclass(frozen=True)
class Parameter:
    """A number of a law: fitted between two bounds, and by its logarithm where it is a scale."""

    name: str
    low: float
    high: float
    is_log: bool = False
    grid: Sequence[float] = ()  # where a fit begins; empty for a coefficient, which follows

    def coordinate(self, value: float | Array) -> float | Array:
        """Where a fit has the value."""
        return np.log(value) if self.is_log else value

    def value(self, coordinate: float | Array) -> float | Array:
        """The value that a fit has there."""
        return np.exp(coordinate) if self.is_log else coordinate


def coefficient(name: str) -> Parameter:
    """A positive factor of a term."""
    return Parameter(name, 1e-30, 1e40, is_log=True)


def exponent(name: str, grid: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)) -> Parameter:
    """A power; one that ends at a bound is not known."""
    return Parameter(name, 0.01, 3.0, grid=grid)


class Law(ABC):
    """A formula of the loss in nats per token.

    Coordinates [..., parameter] are what is fitted: see Parameter. They may be complex, which gives
    exact derivatives.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    of_repeats: ClassVar[bool] = False  # it tells tokens seen again from new ones

    @abstractmethod
    def log_loss(self, at: Array, points: Points) -> Array:
        """The logarithm of the loss, [..., row], at coordinates [..., parameter]."""

    @abstractmethod
    def terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        """The formula where its exponents are known: terms [term, row] and what they sum to [row].

        Each term has a coefficient, in the order of the parameters; `at` has the others.
        """

    def loss(self, values: dict[str, float], points: Points) -> Array:
        """The loss [row] by the law with these values of its parameters."""
        return np.exp(self.log_loss(self.coordinates(values), points))

    def coordinates(self, values: dict[str, float]) -> Array:
        """The coordinates [parameter] of values."""
        return np.array([one.coordinate(values[one.name]) for one in self.parameters])

    def values(self, at: Array) -> dict[str, float]:
        """The values at coordinates [parameter]."""
        return {one.name: float(one.value(x)) for one, x in zip(self.parameters, at, strict=True)}

    def starts(self, points: Points) -> Array:
        """Coordinates [start, parameter] over the grid of exponents, by variable projection.

        Where the exponents are known, what is left is linear in the coefficients (Golub and
        Pereyra 1973), and these are not negative (Lawson and Hanson 1974). Residuals are relative,
        as those of the fit are.
        """
        searched = [one for one in self.parameters if one.grid]
        scales = [one for one in self.parameters if not one.grid]
        found = []
        for chosen in product(*(one.grid for one in searched)):
            at = dict(zip((one.name for one in searched), chosen, strict=True))
            terms, total = self.terms(at, points)
            largest = terms.max(axis=1)
            factors, _ = nnls((terms / (largest[:, None] * total)).T, np.ones(len(points)))
            factors = np.maximum(factors, LEAST * factors.max()) / largest
            values = at | dict(zip((one.name for one in scales), factors, strict=True))
            found.append(self.coordinates(self.from_terms(values, points)))
        return np.clip(np.array(found), *self.bounds())

    def bounds(self) -> tuple[Array, Array]:
        """The lowest and the highest coordinates."""
        low = [one.coordinate(one.low) for one in self.parameters]
        high = [one.coordinate(one.high) for one in self.parameters]
        return np.array(low), np.array(high)

    def from_terms(self, values: dict[str, float], points: Points) -> dict[str, float]:
        """The parameters, of values on the grid and coefficients of `terms`."""
        return values
