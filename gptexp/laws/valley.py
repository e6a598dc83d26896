"""The lowest place of a curve of losses over a scale: a model's size, a learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptexp.analysis.optimum import optimum
from gptexp.laws.points import Array
from gptexp.text import plural

SAME = 0.01  # values nearer than this, as a share of 1, are one that was rounded

Labels = NDArray[np.intp]  # the number of its group, for each row [row]

Curve = list[tuple[float, float]]  # logarithm of a place, and the loss there; places rise


@dataclass(frozen=True)
class Valley:
    """Where a curve is lowest."""

    place: float  # as its points have it: a logarithm
    loss: float
    bend: float  # of the parabola that it is the vertex of

    def loss_at(self, places: Array) -> Array:
        """The losses of that parabola."""
        return self.loss + self.bend * (places - self.place) ** 2


def nearly_one(values: Array, share: float = SAME) -> Labels:
    """The number of its group [row] for each positive value: groups rise with their values.

    A value that lies within `share` of 1 of the one below it is in the group of that one.
    """
    if not len(values):
        return np.empty(0, np.intp)
    order = np.argsort(values, kind="stable")
    apart = np.diff(np.log(values[order])) > np.log1p(share)
    groups = np.empty(len(values), np.intp)
    groups[order] = np.concatenate([[0], np.cumsum(apart)])
    return groups


def members(groups: Labels) -> list[NDArray[np.intp]]:
    """The rows of each group, by its number."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


def curve(places: Array, losses: Array, others: Labels | None = None) -> Curve:
    """The loss over each place, of rows [row]: the mean over its seeds.

    `others` numbers the values of what else was varied, such as the batch size: then the loss of a
    place is the lowest mean of any of them.
    """
    place = nearly_one(places)
    other = np.zeros(len(places), np.intp) if others is None else others
    points = []
    for rows in members(place):
        means = [losses[rows[same]].mean() for same in members(other[rows])]
        points.append((float(np.log(places[rows]).mean()), float(min(means))))
    return points


def valley(points: Sequence[tuple[float, float]], width: float = np.inf) -> Valley | str:
    """Where a curve is lowest, or why that is not known.

    The vertex of a parabola fitted to the points at most `width` from the lowest, with its
    neighbours in any case. Points of a fine grid lie so near each other that the parabola through
    the lowest three follows their noise.
    """
    best = optimum(points)
    if best is None:
        return f"too few: {plural(len(points), 'value')}, and 3 are the least"
    if best.edge:
        return f"no lowest place between others: the {best.edge} end of {len(points)} is the best"
    places, losses = np.array(points).T
    lowest = int(losses.argmin())
    near = np.abs(places - places[lowest]) <= width
    near[lowest - 1 : lowest + 2] = True
    at, loss = places[near] - places[lowest], losses[near]
    bend, slope, height = np.polyfit(at, loss, 2)
    if bend <= 0:
        return "upside down: the parabola has no lowest place"
    vertex = -slope / (2 * bend)
    if not at[0] < vertex < at[-1]:
        return f"no lowest place between others: the parabola's is beyond all {len(at)}"
    return Valley(float(places[lowest] + vertex), float(height + slope * vertex / 2), float(bend))
