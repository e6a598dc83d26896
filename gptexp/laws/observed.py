"""What a law may be fitted to, after admission: points, and what was left out and why."""

from dataclasses import dataclass

from gptexp.laws.points import Points


@dataclass(frozen=True)
class Rejected:
    """A run, or a row of a table, that is no point of a law."""

    label: str  # of the run or row
    reason: str


@dataclass(frozen=True)
class Observations:
    """Points with the words for them."""

    points: Points
    labels: list[str]  # by row
    rejected: list[Rejected]
    notes: list[str]  # what a reader must know before the parameters: `uncertified: ...`
    convention: str  # what is counted, and the unit: `all parameters, nats per token`
