"""What a law may be fitted to, after admission: points, and what was left out and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptexp.analysis.units import NATS
from gptexp.laws.points import Array, Points

LISTED = 100  # of what is left out for one kind of reason, the first: a table may have millions

AT_EDGE = "at the edge of what was tried"  # the kind of a point whose best rate may lie beyond


@dataclass(frozen=True)
class Rejected:
    """A run, or a row of a table, that is no point of a law."""

    label: str  # of the run or row
    reason: str  # what kind of reason, and behind a colon what is particular: `diverged: ...`

    @property
    def kind(self) -> str:
        """The kind of reason."""
        return self.reason.partition(":")[0]


class Rejections:
    """What is left out: all of it counted by kinds of reason, and the first LISTED of each kind."""

    def __init__(self, rejected: Iterable[Rejected] = ()) -> None:
        self.first: list[Rejected] = []
        self.counts: Counter[str] = Counter()
        for rejection in rejected:
            self.add(rejection)

    def add(self, rejection: Rejected) -> None:
        """Count it; keep it where it is one of the first of its kind."""
        self.counts[rejection.kind] += 1
        if self.counts[rejection.kind] <= LISTED:
            self.first.append(rejection)

    def plus(self, others: Iterable[Rejected]) -> "Rejections":
        """These, and others."""
        made = Rejections(self.first)
        made.counts = self.counts.copy()
        for rejection in others:
            made.add(rejection)
        return made

    def __len__(self) -> int:
        return self.counts.total()


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
    rejected: Rejections
    notes: list[str]  # what a reader must know before the parameters: `uncertified: ...`
    convention: str  # what N, T and the loss are, in a line
    unit: str = NATS  # of the loss
    flops: Array | None = None  # of each row, exact; None where only 6 N T is known
    trials: Trials | None = None  # None where no learning rate is known
