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
SAME = 1e-9  # losses that differ by no larger share are equal
MEASURES = {  # what one value of a column is called, and several; which key of a run changes it
    "n": ("size of model", "sizes of model", "model.n_embd"),
    "tokens": ("number of tokens seen", "numbers of tokens seen", "trainer.max_steps"),
    "unique": ("size of text", "sizes of text", "data.fraction"),
    "repeats": ("number of epochs above 1", "numbers of epochs above 1", "trainer.max_steps"),
}


@dataclass(frozen=True)
class Parameter:
    """A number of a law: fitted between two bounds, and by its logarithm where it is a scale."""

    name: str
    low: float
    high: float
    is_log: bool = False
    grid: Sequence[float] = ()  # where a fit begins; empty for a coefficient, which follows
    vague: float = 10.0  # an interval whose ends differ by a larger factor does not tell it

    @property
    def is_term(self) -> bool:
        """Whether it is the coefficient of a term, which is gone where this is at its least."""
        return not self.grid

    def coordinate(self, value: float | Array) -> float | Array:
        """Where a fit has the value."""
        return np.log(value) if self.is_log else value

    def value(self, coordinate: float | Array) -> float | Array:
        """The value that a fit has there."""
        return np.exp(coordinate) if self.is_log else coordinate


def coefficient(name: str) -> Parameter:
    """A positive factor of a term; it goes up tenfold where the exponent of N goes up by 0.15."""
    return Parameter(name, 1e-30, 1e40, is_log=True)


def limit(name: str) -> Parameter:
    """A loss that stays, whatever else there is."""
    return Parameter(name, 1e-30, 1e40, is_log=True, vague=3.0)


def exponent(name: str, grid: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)) -> Parameter:
    """A power; N^0.2 and N^0.6 have little in common."""
    return Parameter(name, 0.01, 3.0, grid=grid, vague=3.0)


class Law(ABC):
    """A formula of the loss, in the unit of the points that it is fitted to.

    Coordinates [..., parameter] are what is fitted: see Parameter.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    of_repeats: ClassVar[bool] = False  # it tells tokens seen again from new ones
    needs: ClassVar[Sequence[tuple[str, int]]] = (("n", 3), ("tokens", 3))  # values of a column

    @abstractmethod
    def log_loss(self, at: Array, points: Points) -> Array:
        """The logarithm of the loss, [..., row], at coordinates [..., parameter]."""

    @abstractmethod
    def log_terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        """The formula where its exponents are known: terms [term, row] and what they sum to [row].

        Both as logarithms. Each term has a coefficient, in the order of the parameters; `at` has
        the others.
        """

    def lacks(self, points: Points) -> str | None:
        """What the law needs that the points do not have; None where it can be fitted."""
        if len(points) and np.ptp(points.log_loss) < SAME:
            return "needs losses that differ, and all are equal"
        for column, least in self.needs:
            if (has := points.distinct(column)) < least:
                one, several, key = MEASURES[column]
                what = f"needs {least} {several if least > 1 else one}, and there {_are(has)}"
                return f"{what} (add runs of other {key})"
        if (has := points.cells) <= (free := len(self.parameters)):
            what = f"needs {free + 1} points that differ in more than the seed"
            return f"{what}, for its {free} parameters, and there {_are(has)}"
        return None

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
        Pereyra 1973).
        """
        searched = [one for one in self.parameters if one.grid]
        scales = [one.name for one in self.parameters if not one.grid]
        starts = []
        for chosen in product(*(one.grid for one in searched)):
            at = {one.name: value for one, value in zip(searched, chosen, strict=True)}
            logs = dict(zip(scales, factors(*self.log_terms(at, points)), strict=True))
            begin = {one.name: float(one.coordinate(at[one.name])) for one in searched}
            starts.append(self.from_terms(begin | logs, at, points))
        order = [one.name for one in self.parameters]
        return np.clip([[start[name] for name in order] for start in starts], *self.bounds())

    def bounds(self) -> tuple[Array, Array]:
        """The lowest and the highest coordinates."""
        low = [one.coordinate(one.low) for one in self.parameters]
        high = [one.coordinate(one.high) for one in self.parameters]
        return np.array(low), np.array(high)

    def from_terms(
        self, logs: dict[str, float], at: dict[str, float], points: Points
    ) -> dict[str, float]:
        """Coordinates by name, of those of the grid and of the logarithms of what `factors` are."""
        return logs


def factors(terms: Array, total: Array) -> list[float]:
    """Logarithms of the factors [term] with which terms [term, row] sum to the total [row].

    All are logarithms. Least squares of relative residuals, and none is negative (Lawson and Hanson
    1974).
    """
    relative = terms - total
    largest = relative.max(axis=1)
    rows = np.exp(relative - largest[:, None]).T
    solution, _ = nnls(rows, np.ones(len(rows)))
    return list(np.log(np.maximum(solution, LEAST * max(solution.max(), LEAST))) - largest)


def _are(number: int) -> str:
    return "is 1" if number == 1 else f"are {number or 'none'}"
