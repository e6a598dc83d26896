"""A store of checkpoints that survives a kill at any instant and finds any damage.

    checkpoints/step-500.pt      torch.save of a dict of tensors, numbers and strings
    checkpoints/step-500.json    its entry: file, size, sha256, step, best_step
    checkpoints/best.json        a copy of the entry with the lowest validation loss
    checkpoints/last.json        a copy of the newest entry, written last

The files come in that order, each atomically, so an entry never names what is not whole. torch
loads a flipped bit without a word; so the digest is compared before anything is read.
"""

import hashlib
import io
import logging
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptexp.config import Keep
from gptexp.errors import CheckpointError
from gptexp.files import read_json, storage_errors, sweep_temporaries, sync_folder, write_bytes
from gptexp.files import write_json as write_entry

log = logging.getLogger(__name__)

FORMAT = "gptexp checkpoint"
VERSION = 1

State = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """What is known of one checkpoint file before it is opened."""

    file: str
    size: int  # bytes
    sha256: str
    step: int
    best_step: int  # the step of the lowest validation loss, as it stood at `step`


class Store:
    """The checkpoints of one run directory. The caller holds the directory's lock."""

    def __init__(self, folder: Path, keep: Keep = Keep.best) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, state: State, step: int, best_step: int) -> None:
        """Write the checkpoint of `step`, point best and last at the right ones, then prune.

        Raises StorageError; what was saved before is then still whole.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "version": VERSION, **state}, buffer)
        data = buffer.getvalue()
        file = f"step-{step}.pt"
        digest = hashlib.sha256(data).hexdigest()
        entry = Entry(file, len(data), digest, step, best_step)
        write_bytes(self.folder / file, data)
        write_entry(self.folder / f"step-{step}.json", asdict(entry))
        if best_step == step:
            # Before last.json: a kill in between leaves a best that `resume` takes back.
            write_entry(self.folder / "best.json", asdict(entry))
        write_entry(self.folder / "last.json", asdict(entry))
        self._prune()

    def resume(self) -> State | None:
        """The newest checkpoint that is whole, with everything after it undone; None if none is.

        Each damaged one on the way is named in a warning.
        """
        sweep_temporaries(self.folder)
        for entry in self._newest_first():
            try:
                state = read(self.folder / entry.file, entry)
            except CheckpointError as error:
                log.warning("%s", error.problems[0].replace("Fix:", "Using the one before.", 1))
                continue
            self._rewind(entry)
            return state
        if any(self.folder.glob("step-*.pt")):
            raise CheckpointError(
                f"{self.folder}: no checkpoint in it is whole. Fix: rerun=true to train anew"
            )
        return None

    def best(self) -> State:
        """The checkpoint of the lowest validation loss; raises CheckpointError."""
        return read(self.folder / self.best_entry().file, self.best_entry())

    def best_entry(self) -> Entry:
        """Of the best checkpoint; raises CheckpointError where there is none."""
        entry = _entry(self.folder / "best.json")
        if entry is None:
            raise CheckpointError(
                f"{self.folder}: holds no best checkpoint yet. Fix: train it to an evaluation first"
            )
        return entry

    def finish(self) -> None:
        """The run is done: with keep=best, only the best checkpoint stays, if there is one."""
        best = _entry(self.folder / "best.json")
        if self.keep is Keep.best and best is not None:
            (self.folder / "last.json").unlink(missing_ok=True)
            self._remove(entry for entry in self._entries() if entry.step != best.step)

    def _entries(self) -> list[Entry]:
        """All entries that can be read, newest first."""
        found = (_entry(path) for path in self.folder.glob("step-*.json"))
        return sorted((e for e in found if e is not None), key=lambda e: e.step, reverse=True)

    def _newest_first(self) -> list[Entry]:
        last = _entry(self.folder / "last.json")
        entries = [entry for entry in self._entries() if last is None or entry.step <= last.step]
        if last is not None and last not in entries:
            entries.insert(0, last)  # its step-*.json is damaged
        return entries

    def _rewind(self, entry: Entry) -> None:
        """Make the folder what it was when `entry` was saved."""
        with storage_errors(self.folder):
            self._remove(e for e in self._entries() if e.step > entry.step)
            best = _entry(self.folder / f"step-{entry.best_step}.json")
            if best is None:
                (self.folder / "best.json").unlink(missing_ok=True)
            else:
                write_entry(self.folder / "best.json", asdict(best))
            write_entry(self.folder / "last.json", asdict(entry))

    def _prune(self) -> None:
        """Keep the last two and the best as each of them knew it."""
        if self.keep is Keep.all:
            return
        entries = self._entries()
        kept = {step for entry in entries[:2] for step in (entry.step, entry.best_step)}
        self._remove(entry for entry in entries if entry.step not in kept)

    def _remove(self, entries: Iterator[Entry]) -> None:
        for entry in entries:
            (self.folder / f"step-{entry.step}.json").unlink(missing_ok=True)
            (self.folder / entry.file).unlink(missing_ok=True)
        sync_folder(self.folder)


def read(path: Path, entry: Entry | None = None) -> State:
    """The checkpoint at `path`, its digest verified first; raises CheckpointError.

    A file named by the user takes its entry from the file beside it. One that was copied away from
    its entry is checked by the checksums inside the archive alone.
    """
    entry = entry or _entry(path.with_suffix(".json"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}. Fix: name a checkpoint file") from error
    if entry is not None and hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CheckpointError(
            f"{path}: damaged: {len(data):,} bytes with SHA-256 "
            f"{hashlib.sha256(data).hexdigest()[:12]}..., not {entry.size:,} with "
            f"{entry.sha256[:12]}.... Fix: use another checkpoint"
        )
    _check_archive(path, data)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # torch's own message tells how to switch its protection off, so it is not passed on.
        raise CheckpointError(
            f"{path}: holds something other than tensors, numbers and strings; nothing in it was "
            "run. Fix: use a checkpoint that gptexp wrote"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise _foreign(path)
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: format version {state.get('version')}, and this gptexp reads {VERSION}. "
            "Fix: use the gptexp that wrote it"
        )
    return state


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: equal for equal bits, on any device."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _entry(path: Path) -> Entry | None:
    try:
        return Entry(**(read_json(path) or {}))
    except TypeError:
        return None


def _check_archive(path: Path, data: bytes) -> None:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise _foreign(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path}: damaged: {error}. Fix: use another checkpoint") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: damaged in {damaged}. Fix: use another checkpoint")


def _foreign(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: not a gptexp checkpoint. Fix: name a file that gptexp wrote")
