"""How well a law tells what it was not fitted to: the largest models, and the largest data."""

from dataclasses import dataclass

import numpy as np

from gptexp.laws.fit import fit_law
from gptexp.laws.law import Law
from gptexp.laws.points import Array, Mask, Points

SHARE = 0.2  # of the values of a size that are left out, the largest; at least one of them


@dataclass(frozen=True)
class HeldOut:
    """What a law says of rows that it was not fitted to."""

    rows: Mask  # that were left out
    predicted: Array  # their losses by the law
    measured: Array

    @property
    def error(self) -> float:
        """The median of the relative errors, as a share of 1."""
        return float(np.median(np.abs(self.predicted / self.measured - 1)))


def hold_out(law: Law, points: Points, largest: Array) -> HeldOut | None:
    """The law fitted without the rows of the largest values, and what it says of those.

    `largest` [row] is that by which rows are left out: points.n or points.unique. None where so few
    would be left that there is nothing to fit.
    """
    values = np.unique(largest)
    count = max(1, round(SHARE * len(values)))
    rows = largest > values[-count - 1] if len(values) > count else np.ones(len(points), bool)
    kept = points.take(~rows)
    if len(kept) <= len(law.parameters):
        return None
    away = points.take(rows)
    return HeldOut(rows, fit_law(law, kept).loss(away), away.loss)
