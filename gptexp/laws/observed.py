"""What a law may be fitted to, after admission: points, and what was left out and why."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptexp.analysis.units import NATS
from gptexp.laws.points import Array, Points


@dataclass(frozen=True)
class Rejected:
    """A run, or a row of a table, that is no point of a law."""

    label: str  # of the run or row
    reason: str  # what kind of reason, and behind a colon what is particular: `diverged: ...`


@dataclass(frozen=True)
class Trials:
    """Runs that differ in their learning rate too: what the best of each cell were chosen from."""

    points: Points
    lr: Array  # [row]
    batch: Array | None = None  # of an update [row]; None where it is one, or not known
    setting: NDArray[np.intp] | None = None  # the number of what else was varied [row]


@dataclass(frozen=True)
class Observations:
    """Points with the words for them."""

    points: Points
    labels: list[str]  # by row
    rejected: list[Rejected]
    notes: list[str]  # what a reader must know before the parameters: `uncertified: ...`
    convention: str  # what N, T and the loss are, in a line
    unit: str = NATS  # of the loss
    flops: Array | None = None  # of each row, exact; None where only 6 N T is known
    trials: Trials | None = None  # None where no learning rate is known
