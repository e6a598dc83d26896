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


def sides(points: Points) -> dict[str, Array]:
    """That by which the largest are left out [row]: see `hold_out`. The same for all laws.

    Not the most epochs: harm of repeats that it was not shown, no law foretells.
    """
    return {"models": points.n, "data": points.unique}


def hold_out(law: Law, points: Points, largest: Array) -> HeldOut | str:
    """The law fitted without the rows of the largest values, and what it says of those.

    `largest` [row] is that by which rows are left out. Where too little would be left for the law,
    the reason in words.
    """
    values = np.unique(largest)
    count = max(1, round(SHARE * len(values)))
    rows = largest >= values[-count]
    kept = points.take(~rows)
    if missing := law.lacks(kept):
        return f"without the largest, the law {missing}"
    away = points.take(rows)
    return HeldOut(rows, fit_law(law, kept).loss(away), away.loss)
