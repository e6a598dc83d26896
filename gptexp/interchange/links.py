"""A folder of links to runs, each named by what tells it from the others, for TensorBoard to show.

TensorBoard calls a run by its path, and a run's path is its identity. So the names that a person
reads are those of links, made anew as runs come and labels grow. Torch-free.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from gptexp.analysis.groups import gathered
from gptexp.analysis.labels import label_keys, label_runs, short_names
from gptexp.analysis.records import Run, collect, differing, is_run, mixed
from gptexp.errors import Problem
from gptexp.files import storage_errors, user_cache
from gptexp.tracking import hparams
from gptexp.tracking.event_file import EventFile

EVENTS = "events.out.tfevents.*"  # the files by which TensorBoard knows a run

ODD = re.compile(r"[^\w =.,+-]|^\.")  # what a name must not hold, or begin with

LONGEST = 150  # bytes of a name; systems take 255

COLUMNS = "hparams-"  # begins the name of the run that holds the columns of that page


class LinkedFolder:
    """Links to the runs in some folders, and to what else of TensorBoard lies beside them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder.resolve() for folder in folders]
        digest = hashlib.sha256("\n".join(map(str, self.folders)).encode(errors="replace"))
        name = f"{_file_name(self.folders[0].name)}-{digest.hexdigest()[:8]}"
        self.path = user_cache() / "tensorboard" / name
        self.runs: list[Run] = []

    def update(self) -> list[Problem]:
        """Link what is there now, and unlink what is gone; returns notes about damaged runs.

        Raises ConfigError where there is no run, and StorageError.
        """
        self.runs, notes = collect(self.folders)
        labels = label_runs(self.runs)
        wanted = {_file_name(labels[run.path]): run.path for run in self.runs}
        wanted |= _boards_beside(self.runs)
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for link in self.path.iterdir():
                if link.is_symlink() and wanted.get(link.name) != link.readlink():
                    link.unlink(missing_ok=True)  # another server may show the same runs
            for name, target in wanted.items():
                if not (self.path / name).is_symlink():
                    (self.path / name).symlink_to(target, target_is_directory=True)
            self._write_columns()
        return notes

    def without_events(self) -> int:
        """The number of runs that TensorBoard has nothing of."""
        return sum(not any(run.path.glob(EVENTS)) for run in self.runs)

    def _write_columns(self) -> None:
        """What HParams shows of the runs; nothing where all are alike, and it shows every key.

        In a folder named by the content: of one that it has read, TensorBoard takes no other.
        """
        names, first = columns(self.runs)
        summary = hparams.experiment([run.config for run in self.runs], names, first)
        digest = hashlib.sha256(summary.SerializeToString(deterministic=True)).hexdigest()[:8]
        folder = self.path / f"{COLUMNS}{digest}" if names else None
        for old in set(self.path.glob(f"{COLUMNS}*")) - {folder}:
            shutil.rmtree(old, ignore_errors=True)
        if folder is not None and not any(folder.glob(EVENTS)):
            folder.mkdir(exist_ok=True)
            events = EventFile(folder)
            events.add(step=0, summary=summary)
            events.close()


def columns(runs: Sequence[Run]) -> tuple[dict[str, str], list[str]]:
    """The config keys that differ between the runs, with short names; and those of the labels."""
    first = label_keys(runs)
    unlike = differing(runs)
    keys = dict.fromkeys([*first, *(key for key in mixed(runs) if key in unlike)])
    return dict(zip(keys, short_names([*keys]), strict=True)), first


def _boards_beside(runs: Iterable[Run]) -> dict[str, Path]:
    """Folders of event files that are no runs, such as scaling-f1, by the names of their links."""
    folders = sorted({run.path.parent for run in runs})
    boards = sorted(set(_boards_in(folders)))
    together = gathered(boards, lambda path: path.name)
    return {
        _file_name(
            path.name if len(together[path.name]) == 1 else f"{path.name} {path.parent.name}"
        ): path
        for path in boards
    }


def _boards_in(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in folder.glob(f"*/{EVENTS}"):
            if not is_run(path.parent):
                yield path.parent


def _file_name(label: str) -> str:
    """The label as the name of a file: odd characters as %2F, and a long one cut, with a digest."""
    name = ODD.sub(lambda match: quote(match[0], safe="", errors="backslashreplace"), label)
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[:LONGEST].decode(errors='ignore')}~{digest}"
