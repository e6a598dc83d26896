"""What a study trains: the points of its sweeps, each with the hash that its line is found by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmarks import ROOT
from benchmarks.study import changes
from benchmarks.study.certify import Cell, Rates, certified, wanted
from benchmarks.study.lines import Line
from gptexp.config import Config, grid
from gptexp.errors import ConfigError, Problem
from gptexp.experiment.identity import Identity, identify
from gptexp.runs.directory import OUTPUTS, RunDirectory
from gptexp.sweep.points import labels, points_of

RATES = {"flagship": "flagship_rates"}  # the sweep that finds a study's learning rates
BESIDE = {  # a sweep that a study trains as well
    "regularise": "regularise_whole",
    "records": "records_trials",
}
STUDIES = ("modernise", "regularise", "flagship", "records")


@dataclass(frozen=True)
class StudyPoint:
    """One run of a study."""

    stage: str  # the sweep
    label: str
    overrides: list[str]
    config: Config
    marks: dict[str, str]  # where its learning rate came from
    waits: bool = False  # until that is known

    @cached_property
    def identity(self) -> Identity:
        return identify(self.config, OUTPUTS)

    @property
    def hash(self) -> str:
        """Of the config: what its line is found by."""
        return self.identity.hash

    @property
    def directory(self) -> RunDirectory:
        return self.identity.directory


def study_of(words: Sequence[str]) -> str:
    """The study that a command names; raises ConfigError."""
    names = [word.partition("=")[2] for word in words if word.startswith("sweeps=")]
    if len(names) != 1 or names[0] not in STUDIES:
        fix = " or ".join(f"sweeps={name}" for name in STUDIES)
        raise ConfigError(Problem("sweeps", "not the name of one study", fix))
    return names[0]


def results(study: str) -> Path:
    """Where the lines of a study are kept."""
    return ROOT / "results" / f"{study}.jsonl"


class Study:
    """The points of a study, composed once."""

    def __init__(self, words: Sequence[str]) -> None:
        self.name = study_of(words)
        others = [word for word in words if not word.startswith("sweeps=")]
        sweeps = [self.name, *([BESIDE[self.name]] if self.name in BESIDE else [])]
        self.points = [point for sweep in sweeps for point in _composed(sweep, others)]
        self.rates = _composed(RATES[self.name], others) if self.name in RATES else []

    def resolved(self, lines: Sequence[Line]) -> list[StudyPoint]:
        """All points in order, with the learning rates that these lines certify.

        Of grids that are searched, what these lines ask for or hold.
        """
        known = {line.hash: line for line in lines}
        if self.name == "modernise":
            more = changes.wanted(self._switches, known)
            return [point for point in self.points if point.hash in known.keys() | more]
        if not self.rates:
            return self.points
        asked = known.keys() | {one for cell in self._cells.values() for one in wanted(cell, known)}
        rates = certified(known, self._cells)
        points = [point for point in self.rates if point.hash in asked]
        points += [_with_rates(point, rates) for point in self.points]
        return sorted(points, key=lambda p: (p.config.model.n_embd, p.stage == self.name))  # type: ignore[attr-defined]

    @cached_property
    def _switches(self) -> dict[tuple[str, float, int], str]:
        """The hashes of the points by switch, learning rate and seed."""
        return {
            (changes.name_of(p.overrides), p.config.optim.lr, p.config.seed): p.hash  # type: ignore[attr-defined]
            for p in self.points
        }

    @cached_property
    def _cells(self) -> dict[tuple[int, float], Cell]:
        """The grid of learning rates and weight decays of each width and fraction."""
        found: dict[tuple[int, float], dict[tuple[float, float], str]] = {}
        for point in self.rates:
            config = point.config
            key = (config.model.n_embd, config.data.fraction)  # type: ignore[attr-defined]
            rates = (config.optim.lr, config.optim.weight_decay)  # type: ignore[attr-defined]
            found.setdefault(key, {})[rates] = point.hash
        return found  # type: ignore[return-value]


def _composed(sweep: str, others: list[str]) -> list[StudyPoint]:
    points = points_of(grid.of_command([f"sweeps={sweep}", *others]))
    for point in points:
        if isinstance(point.config, ConfigError):
            raise point.config
    return [
        StudyPoint(sweep, label, point.overrides, point.config, {})  # type: ignore[arg-type]
        for point, label in zip(points, labels(points), strict=True)
    ]


def _with_rates(point: StudyPoint, known: dict[int, Rates]) -> StudyPoint:
    """The point with its certified learning rate and weight decay, or waiting for these."""
    rates = known.get(point.config.model.n_embd)  # type: ignore[attr-defined]
    if rates is None:
        return replace(point, waits=True)
    lr, decay, mark = rates.at(point.config.data.fraction)
    optim = replace(point.config.optim, lr=lr, weight_decay=decay)
    given = [f"optim.lr={lr:g}", f"optim.weight_decay={decay:g}"]
    return StudyPoint(
        point.stage,
        f"{point.label} lr={lr:g} wd={decay:g}",
        [*point.overrides, *given],
        replace(point.config, optim=optim),
        {"rates": mark},
    )
