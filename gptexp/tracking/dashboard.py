"""The protocol of a dashboard: what it is told, and what it may know of its run."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gptexp.inference.probe import Probe
from gptexp.runs.journal import Sample


@dataclass(frozen=True)
class RunInfo:
    """The run as it is when a dashboard opens."""

    folder: Path  # the run directory
    group: str  # the folder of runs that it belongs to
    config: dict[str, Any]
    resume_step: int | None  # None for a run that starts anew
    lines: Iterable[dict[str, Any]]  # of metrics.jsonl, up to resume_step; read at each pass
    samples: Iterable[Sample]  # of samples.jsonl, up to resume_step
    over: bool = False  # nothing more will be drawn: see interchange/dashboards.py
    label: str = ""  # what tells it from other runs, in words; empty where that is not known


@dataclass(frozen=True)
class FinalResult:
    """The results of a finished run."""

    step: int
    values: dict[str, float]  # final/...
    sample: Sample  # of the best weights
    probe: Probe | None  # of the best weights, where they were at hand
    checkpoint: Path | None  # the best one


@dataclass(frozen=True)
class Histogram:
    """How many of some values lie in each of the parts, equally wide, of their range."""

    lowest: float
    highest: float  # above the lowest
    counts: list[int]

    def edges(self) -> list[float]:
        """Where the parts begin, and where the last one ends."""
        width = (self.highest - self.lowest) / len(self.counts)
        inner = [self.lowest + width * n for n in range(len(self.counts))]
        return [*inner, self.highest]


@dataclass(frozen=True)
class Histograms:
    """Those of one update."""

    step: int
    by_name: dict[str, Histogram]


class Dashboard(Protocol):
    """A dashboard. It may raise, and may take its time: see Background."""

    def scalars(self, line: dict[str, Any]) -> None:
        """Draw a line of metrics.jsonl, NaN and infinities as floats."""

    def sample(self, sample: Sample) -> None: ...

    def probe(self, probe: Probe) -> None: ...

    def histograms(self, histograms: Histograms) -> None: ...

    def final(self, final: FinalResult) -> None: ...

    def flush(self) -> None: ...

    def close(self, exit_code: int) -> None:
        """End the run's dashboard, with the exit code of the command."""
