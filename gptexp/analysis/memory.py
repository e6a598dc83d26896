"""Runs that are looked at again and again: what did not change is not read again."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gptexp.analysis import records
from gptexp.analysis.records import Found, Run
from gptexp.errors import Problem, StorageError
from gptexp.runs.directory import RunDirectory
from gptexp.runs.progress import Progress, read_progress
from gptexp.runs.state import RunState

Stamp = tuple[tuple[int, int, int] | None, ...]  # of files: another one after each change


class _Known(NamedTuple):
    stamp: Stamp
    entry: Found


class _Journal(NamedTuple):
    stamp: Stamp
    progress: Progress | None
    note: Problem | None  # of a journal that cannot be read


class Memory:
    """What was read of runs, each by its directory, with the stamps of the files it came from."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}
        self._journals: dict[Path, _Journal] = {}

    def runs(self, paths: Sequence[Path]) -> tuple[list[Run], list[Problem]]:
        """The runs that `paths` are or hold by now, and notes of damage; see records.beneath."""
        runs: list[Run] = []
        notes: list[Problem] = []
        for path in paths:
            at_path, noted = records.beneath(path, self.look)
            runs += at_path
            notes += noted
        return records.distinct(runs), list(dict.fromkeys(notes))

    def look(self, path: Path) -> Found:
        """As records.look. A run that is running may end without a word, so its lock is tried."""
        stamp = _stamp(path, "summary.json", "status.json")
        known = self._known.get(path)
        if known is not None and known.stamp == stamp and not _may_have_ended(known.entry.run):
            return known.entry
        entry = records.look(path)
        if entry.run or entry.note:
            self._known[path] = _Known(stamp, entry)
        return entry

    def progress(self, run: Run) -> Progress | None:
        """Where the run stands by its journal; None where that cannot be told, see `damage`."""
        stamp = _stamp(run.path, "metrics.jsonl")
        journal = self._journals.get(run.path)
        if journal is None or journal.stamp != stamp:
            try:
                journal = _Journal(stamp, read_progress(run.path), None)
            except StorageError as error:
                journal = _Journal(stamp, None, error.problems[0])
            self._journals[run.path] = journal
        return journal.progress

    def damage(self) -> list[Problem]:
        """The journals that could not be read."""
        return [
            journal.note
            for path, journal in self._journals.items()
            if journal.note is not None and path.exists()
        ]


def _may_have_ended(run: Run | None) -> bool:
    if run is None or run.state is not RunState.running:
        return False
    return not RunDirectory(run.path).held()


def _stamp(folder: Path, *names: str) -> Stamp:
    return tuple(_stamp_of(f"{folder}/{name}") for name in names)


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116  # a thousand of them a second
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
