"""The runs of sweeps=records judged as one model, and what counts of characters add."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks import ROOT
from benchmarks.study import lines
from benchmarks.study.lines import Machine
from benchmarks.study.points import Study, StudyPoint
from benchmarks.study.work import machine
from gptexp.experiment.ensemble import ensemble
from gptexp.experiment.reuse import others
from gptexp.files import read_json, write_json
from gptexp.runs.directory import RunDirectory

RECORDS = "records"  # the study, and its sweep of the runs
TOGETHER = ROOT / "results" / "records_together.json"


class Part(msgspec.Struct, frozen=True):
    """A run, or counts, among what is judged together."""

    name: str
    alone: float  # nats per token
    together: float  # with all before it


class Together(msgspec.Struct, frozen=True):
    """Runs as one model, judged exactly over all targets of validation."""

    taken: str  # when, UTC
    members: list[str]  # the runs' hashes
    tokens: int
    parts: list[Part]
    notes: list[str]
    machine: Machine = Machine()


def judge_together(study: Study, file: Path, to: Path = TOGETHER) -> None:
    """Judge the study's runs together and write that, where all are there and it is not written.

    A narrowed study is written as soon as a whole one is. Raises GptexpError.
    """
    known = {line.hash for line in lines.read(file) if line.done}
    runs = [point for point in study.points if point.stage == RECORDS]
    hashes, before = [point.hash for point in runs], read_together(to)
    if before is not None and {*hashes} <= {*before.members}:
        return
    paths = [path for point in runs if point.hash in known and (path := standing(point))]
    if len(paths) < len(runs):
        return
    made = ensemble(paths, counts=True)
    parts = [Part(part.name, part.alone, part.together) for part in made.parts]
    where = machine(RunDirectory(paths[0]))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = Together(now, hashes, made.tokens, parts, made.notes, where)
    write_json(to, msgspec.to_builtins(found))


def standing(point: StudyPoint) -> Path | None:
    """The finished run of a point, under whatever name; None where it is not here."""
    path = point.directory.path
    return path if path.exists() else next(others(point.config, point.identity), None)


def read_together(file: Path = TOGETHER) -> Together | None:
    """What is written; None where nothing is. Raises DamagedError."""
    return read_json(file, Together, "restore it from git, or delete it and run the study again")
