"""How far the parameters of a law may lie from the fit: by fits to losses drawn anew."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gptexp.laws.fit import Fit, fit_draws
from gptexp.laws.points import Array, Points

DRAWS = 200
LEVEL = 0.9  # share of the draws that an interval holds
ENDS = (50 * (1 - LEVEL), 50 * (1 + LEVEL))  # of an interval, as percentiles of the draws
ROUNDED = 1e-9  # a percentage that is none


@dataclass(frozen=True)
class Scatter:
    """What losses differ from a law by, in logarithms of the loss, in two parts.

    What a cell is off by is the law's misfit, which all its rows share; what a row is off the mean
    of its cell by is what another seed changes. Both are drawn (Davison and Hinkley 1997, 3.8), so
    that seeds of a cell count as one point where the law does not hold, and as many where it does.
    Without seeds, what a point is off by is all misfit.

    Lengths of one run are drawn together, as its rows are no news to each other: the misfits of its
    cells, a family, are those of another family, and its rows are off as those of another run.
    """

    cell: NDArray[np.intp]  # [row] from 0 on
    run: NDArray[np.intp]  # [row] from 0 on
    family: NDArray[np.intp]  # [cell] from 0 on: of cells that runs have lengths in
    misfits: Array  # [cell]
    drawn: NDArray[np.intp]  # the families, any of whose misfits may come to any other
    seeds: Array  # [row], any of a cell's to any of the cell: by sqrt(S / (S - 1)) larger

    def draw(self, draws: int, seed: int) -> Array:
        """So many times [draw, row] what the losses may differ from the law by."""
        random = np.random.default_rng(seed)
        first, counts, order = _members(self.family)
        place = np.empty_like(order)  # of each cell in its family
        place[order] = np.arange(len(order)) - first[self.family[order]]
        source = random.choice(self.drawn, (draws, len(counts)))[:, self.family]
        place = place * counts[source] // counts[self.family]
        of_cells = self.misfits[order[first[source] + place]]
        first, counts, order = _members(self.cell, self.run)
        share = random.random((draws, self.run.max() + 1))[:, self.run]
        of_rows = self.seeds[order[first[self.cell] + (share * counts[self.cell]).astype(np.intp)]]
        if (alone := counts[self.cell] == 1).any() and not alone.all():
            of_rows[:, alone] = random.choice(self.seeds[~alone], (draws, alone.sum()))
        return of_cells[:, self.cell] + of_rows

    def __str__(self) -> str:
        """What intervals hold that are drawn from it, as a phrase."""
        drawn = self.misfits[np.isin(self.family, self.drawn)]
        misfit, seeds = (100 * np.sqrt(np.mean(x**2)) for x in (drawn, self.seeds))
        if seeds < ROUNDED:
            return f"how far points lie from the law ({misfit:.2g}%), and nothing of seeds"
        if misfit < ROUNDED:
            return f"what other seeds change ({seeds:.2g}%; the law misses no cell by more)"
        return f"what other seeds change ({seeds:.2g}%) and how far the law misses ({misfit:.2g}%)"


def scatter(fit: Fit, points: Points) -> Scatter:
    """The two parts, by an analysis of variance in which the law has taken its parameters."""
    off = points.log_loss - fit.law.log_loss(fit.at, points)
    _, cell, counts = np.unique(points.cell, return_inverse=True, return_counts=True)
    rows, cells = len(off), len(counts)
    _, run = np.unique(points.run, return_inverse=True)
    family = _families(cell, run)
    means = np.bincount(cell, off) / counts
    seeds = off - means[cell]
    within = (seeds**2).sum() / max(1, rows - cells)
    between = (counts * means**2).sum() / max(1, cells - len(fit.at))
    size = (rows - (counts**2).sum() / rows) / max(1, cells - 1)  # of cells, were they equal
    misfit = max(0.0, between - within) / max(size, 1.0)
    # A robust fit goes through as many means as it has parameters: those are no sample of misfits.
    squares = np.bincount(family, means**2) / np.bincount(family)
    through = round(len(fit.at) * len(squares) / cells)
    drawn = np.argsort(squares)[min(through, len(squares) - 1) :]
    square = max(squares[drawn].mean(), np.finfo(float).tiny)
    larger = np.sqrt(counts / np.maximum(1, counts - 1))
    misfits = means * np.sqrt(misfit / square)
    return Scatter(cell, run, family, misfits, drawn, seeds * larger[cell])


def _families(cell: NDArray[np.intp], run: NDArray[np.intp]) -> NDArray[np.intp]:
    """The number of the family of each cell: cells are of one if a run has rows in both."""
    cells = cell.max() + 1
    nodes = cells + run.max() + 1
    shared = coo_array((np.ones(len(cell)), (cell, cells + run)), shape=(nodes, nodes))
    return connected_components(shared, directed=False)[1][:cells].astype(np.intp)


def _members(
    group: NDArray[np.intp], by: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Where the members of each group begin, how many there are, and the members by group.

    Of one group they are in the order of `by`, or as they come.
    """
    counts = np.bincount(group)
    order = np.lexsort((np.arange(len(group)) if by is None else by, group))
    return np.cumsum(counts) - counts, counts, order


def draw_fits(fit: Fit, points: Points, draws: int = DRAWS, seed: int = 0) -> Array:
    """Coordinates [draw, parameter] of fits to the law's own losses and a scatter drawn anew.

    Of the logarithm of the loss (Efron 1979).
    """
    fitted = fit.law.log_loss(fit.at, points)
    return fit_draws(fit, points, fitted + scatter(fit, points).draw(draws, seed))
