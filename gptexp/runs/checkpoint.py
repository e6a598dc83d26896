"""A store of checkpoints that survives a kill at any instant and finds any damage.

    checkpoints/step-500.pt      torch.save of a dict of tensors, numbers and strings
    checkpoints/step-500.json    its entry: file, size, sha256, step, best_step
    checkpoints/best.json        a copy of the entry with the lowest validation loss
    checkpoints/last.json        a copy of the newest entry, written last

The files come in that order, each atomically, so an entry never names what is not whole. torch
loads a flipped bit without a word; so the digest is compared before anything is read.
"""

import contextlib
import hashlib
import io
import logging
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptexp.config import Keep
from gptexp.errors import CheckpointError, Problem
from gptexp.files import (
    read_json,
    sha256,
    storage_errors,
    sweep_temporaries,
    sync_folder,
    write_bytes,
    write_json,
)

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
        head = {"format": FORMAT, "version": VERSION, "step": step, "best_step": best_step}
        buffer = io.BytesIO()
        torch.save({**head, **state}, buffer)
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        entry = Entry(f"step-{step}.pt", len(data), digest, step, best_step)
        write_bytes(self.folder / entry.file, data)
        self._write_entry(f"step-{step}.json", entry)
        if best_step == step:
            # Before last.json: a kill in between leaves a best that `resume` takes back.
            self._write_entry("best.json", entry)
        self._write_entry("last.json", entry)
        self._prune()

    def resume(self) -> State | None:
        """The newest checkpoint that is whole, with everything after it undone; None if none is.

        Each damaged one on the way is named in a warning. Raises CheckpointError when there are
        checkpoints and none is whole, or when the best of the one found is not.
        """
        sweep_temporaries(self.folder)
        for entry in self._newest_first():
            try:
                state = read(self.folder / entry.file, entry)
            except CheckpointError as error:
                problem = error.problems[0]
                what = f"{problem.subject}: {problem.what}"
                log.warning("%s. Using the one before. %s", what, problem.fix)
                continue
            # The file is verified and its entry is not, so the file says what it is.
            entry = replace(entry, step=state["step"], best_step=state["best_step"])
            self._rewind(entry)
            return state
        if any(self.folder.glob("*.json")):
            raise CheckpointError(
                Problem(self.folder, "no checkpoint in it is whole", "rerun=true to train anew")
            )
        return None

    def best(self) -> State:
        """The checkpoint of the lowest validation loss; raises CheckpointError."""
        entry = self.best_entry()
        return read(self.folder / entry.file, entry)

    def best_entry(self) -> Entry:
        """Of the best checkpoint; raises CheckpointError where there is none."""
        entry = _entry(self.folder / "best.json")
        if entry is None:
            raise CheckpointError(
                Problem(
                    self.folder, "holds no best checkpoint yet", "train it to an evaluation first"
                )
            )
        return entry

    def finish(self) -> None:
        """The run is done: with keep=best, only the best checkpoint stays, if there is one."""
        best = _entry(self.folder / "best.json")
        if self.keep is Keep.best and best is not None:
            with storage_errors(self.folder):
                (self.folder / "last.json").unlink(missing_ok=True)
                self._leave({best.step})

    def _entries(self) -> list[Entry]:
        """All entries that can be read, newest first."""
        found = (_entry(path) for path in self.folder.glob("step-*.json"))
        return sorted((e for e in found if e is not None), key=lambda e: e.step, reverse=True)

    def _newest_first(self) -> list[Entry]:
        """What last.json names, then whatever is not newer: that was not finished."""
        last = _entry(self.folder / "last.json")
        if last is None:
            return self._entries()
        return [last, *(e for e in self._entries() if e.step <= last.step and e != last)]

    def _rewind(self, entry: Entry) -> None:
        """Make the folder what it was when `entry` was saved; the pointers first."""
        best = entry if entry.best_step == entry.step else self._whole(entry.best_step)
        with storage_errors(self.folder):
            if best is None:
                (self.folder / "best.json").unlink(missing_ok=True)
            else:
                self._write_entry(f"step-{best.step}.json", best)
                self._write_entry("best.json", best)
            self._write_entry(f"step-{entry.step}.json", entry)
            self._write_entry("last.json", entry)
            self._leave({e.step for e in self._entries() if e.step <= entry.step})

    def _whole(self, step: int) -> Entry | None:
        """The entry of the checkpoint of `step`, from whichever copy agrees with the file.

        None for a negative step, which no evaluation had; raises CheckpointError if none agrees.
        """
        if step < 0:
            return None
        path = self.folder / f"step-{step}.pt"
        with contextlib.suppress(OSError):
            digest = sha256(path)
            for name in (f"step-{step}.json", "best.json", "last.json"):
                entry = _entry(self.folder / name)
                if entry is not None and entry.sha256 == digest:
                    return replace(entry, file=path.name, step=step, best_step=step)
        raise CheckpointError(
            Problem(
                path, "the best checkpoint so far is damaged or missing", "train anew, rerun=true"
            )
        )

    def _prune(self) -> None:
        """Keep the last two and the best as each of them knew it."""
        if self.keep is Keep.best:
            last_two = self._entries()[:2]
            with storage_errors(self.folder):
                self._leave({step for entry in last_two for step in (entry.step, entry.best_step)})

    def _leave(self, steps: set[int]) -> None:
        """Remove the checkpoints of other steps, entries first, and files without an entry."""
        stems = {f"step-{step}" for step in steps}
        gone = [path for path in sorted(self.folder.glob("step-*")) if path.stem not in stems]
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            sync_folder(self.folder)

    def _write_entry(self, name: str, entry: Entry) -> None:
        if _entry(self.folder / name) != entry:
            write_json(self.folder / name, asdict(entry))


def read(path: Path, entry: Entry | None = None) -> State:
    """The checkpoint at `path`, its digest verified first; raises CheckpointError.

    An entry, such as best.json, stands for its file. A file named by the user takes its entry from
    the file beside it. One that was copied away from
    its entry is checked by the checksums inside the archive alone.
    """
    entry = entry or _entry(path.with_suffix(".json"))
    if path.suffix == ".json" and entry is not None:
        path = path.parent / entry.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            Problem(path, f"{error.strerror}", "name a checkpoint file")
        ) from error
    if entry is not None and hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CheckpointError(
            Problem(
                path,
                f"damaged: {len(data):,} bytes with SHA-256 "
                f"{hashlib.sha256(data).hexdigest()[:12]}..., not {entry.size:,} with "
                f"{entry.sha256[:12]}...",
                "use another checkpoint",
            )
        )
    _check_archive(path, data)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # A program that is not one of torch's makes the reader raise almost anything, and torch's
        # own message tells how to switch its protection off: it is not passed on.
        raise CheckpointError(
            Problem(
                path,
                "holds something other than tensors, numbers and strings; nothing in it was run",
                "use a checkpoint that gptexp wrote",
            )
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise _foreign(path, data)
    if state.get("version") != VERSION:
        raise CheckpointError(
            Problem(
                path,
                f"format version {state.get('version')}, and this gptexp reads {VERSION}",
                "use the gptexp that wrote it",
            )
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
    """That it is torch's kind of archive, and whole by its own checksums; else CheckpointError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise _foreign(path, data) from error
    except Exception as error:  # a damaged archive makes zipfile raise almost anything
        raise CheckpointError(
            Problem(path, f"damaged: {error}", "use another checkpoint")
        ) from error
    if damaged is not None:
        raise CheckpointError(Problem(path, f"damaged in {damaged}", "use another checkpoint"))
    if not any(name.endswith("/data.pkl") for name in names):
        raise _foreign(path, data)


def _foreign(path: Path, data: bytes) -> CheckpointError:
    fix = "name a file that gptexp wrote"
    if data[:1] == b"{" and b'"state_dict"' in data:
        fix = f"gptexp import {path} --from microgpt"
    return CheckpointError(Problem(path, "not a gptexp checkpoint", fix))
