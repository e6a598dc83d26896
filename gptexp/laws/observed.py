"""What a law may be fitted to, after admission: points, and what was left out and why."""

from dataclasses import dataclass

from gptexp.analysis.units import NATS
from gptexp.laws.points import Array, Points


@dataclass(frozen=True)
class Rejected:
    """A run, or a row of a table, that is no point of a law."""

    label: str  # of the run or row
    reason: str  # what kind of reason, and behind a colon what is particular: `diverged: ...`


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
