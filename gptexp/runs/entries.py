"""What can be known of a run's checkpoints without torch: entries, pointers, digests, pruning.

    checkpoints/step-500.pt      torch.save of a dict of tensors, numbers and strings
    checkpoints/step-500.json    its entry: file, size, digests, step, best_step
    checkpoints/best.json        a copy of the entry with the lowest validation loss
    checkpoints/last.json        a copy of the newest entry, written last

The files come in that order, each atomically, so an entry never names what is not whole.
"""

import contextlib
import hashlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec

from gptexp.config import Keep
from gptexp.errors import CheckpointError, DamagedError, Problem
from gptexp.files import open_regular, read_json, storage_errors, sync_folder, write_json
from gptexp.runs.schema import Count

BEST, LAST = "best.json", "last.json"


Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]  # SHA-256, hexadecimal


@dataclass(frozen=True)
class Entry:
    """All that is known of one checkpoint file before it is opened."""

    file: Annotated[str, msgspec.Meta(pattern=r"^step-[0-9]+\.pt\Z")]  # of the same folder
    size: Count  # bytes
    sha256: Digest  # of the file
    step: Count
    best_step: Count  # the step of the lowest validation loss, as it stood at `step`
    weights_sha256: Digest | None = None  # see checkpoint.digest; None of an earlier gptexp
    averages: dict[str, Count] | None = None  # of each average of the weights, its own best_step

    @property
    def bests(self) -> set[int]:
        """The steps of the lowest validation losses by then, of the weights and their averages."""
        return {self.best_step, *(self.averages or {}).values()}


class Entries:
    """The entries of one run's checkpoints. Whoever changes them holds the directory's lock."""

    def __init__(self, folder: Path, keep: Keep = Keep.best, trunk: int = 0) -> None:
        self.folder = folder
        self.keep = keep
        self.trunk = trunk  # updates that a longer run begins with: see Config.trunk_steps

    def add(self, entry: Entry) -> None:
        """Take in a checkpoint whose file is written, then prune; raises StorageError."""
        self._write(f"step-{entry.step}.json", entry)
        if entry.best_step == entry.step:
            # Before last.json: a kill in between leaves a best that `rewind` takes back.
            self._write(BEST, entry)
        self._write(LAST, entry)
        self._prune()

    def best_entry(self, weights: str = "raw") -> Entry:
        """The entry of the best checkpoint, by the weights or by an average of them.

        Raises CheckpointError where there is none.
        """
        if weights == "raw":
            entry = read_entry(self.folder / BEST)
            what, fix = "holds no best checkpoint yet", "train it to an evaluation first"
        else:
            bests = (e for e in self._all() if (e.averages or {}).get(weights) == e.step)
            entry = next(bests, None)
            key = {"ema": "optim.ema=0.999", "mean": "optim.average_last=0.2"}[weights]
            what, fix = f"holds no {weights} of the weights", f"train with {key}"
        if entry is None:
            raise CheckpointError(Problem(self.folder, what, fix))
        return entry

    def newest_first(self, until: int | None = None) -> list[Entry]:
        """The entry that last.json names, then all that are not newer: those were not finished.

        Of those alone that are no newer than `until`, where that is given.
        """
        last, entries = read_entry(self.folder / LAST), self._all()
        if last is not None:
            entries = [last, *(e for e in entries if e.step <= last.step and e != last)]
        return [entry for entry in entries if until is None or entry.step <= until]

    def rewind(self, entry: Entry) -> None:
        """Make the folder what it was when `entry` was saved; the pointers first.

        Raises StorageError, and CheckpointError where the best checkpoint of then is not whole.
        """
        best = self.best_of(entry)
        with storage_errors(self.folder):
            if best is None:
                (self.folder / BEST).unlink(missing_ok=True)
            else:
                self._write(f"step-{best.step}.json", best)
                self._write(BEST, best)
            self._write(f"step-{entry.step}.json", entry)
            self._write(LAST, entry)
            self._leave({e.step for e in self._all() if e.step <= entry.step})

    def best_of(self, entry: Entry) -> Entry | None:
        """The best checkpoint as it stood when `entry` was saved; None before any evaluation.

        Taken from whichever copy of its entry agrees with the file; raises CheckpointError if none
        does.
        """
        step = entry.best_step
        if step == entry.step:
            return entry
        if step < 0:
            return None
        path = self.folder / f"step-{step}.pt"
        with contextlib.suppress(OSError):
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            for name in (f"step-{step}.json", BEST, LAST):
                copy = read_entry(self.folder / name)
                if copy is not None and copy.sha256 == digest:
                    return replace(copy, file=path.name, step=step, best_step=step)
        what = "the best checkpoint so far is damaged or missing"
        raise CheckpointError(Problem(path, what, "train anew, rerun=true"))

    def finish(self) -> None:
        """The run is done: with keep=best, only the best checkpoints stay, if there is one.

        Of a run with a trunk the last one in it stays too, with the best by then. Where the run
        ends in it, so does the best before that one: an evaluation that only the end of the run
        called for is none of a longer run, which may have another best.
        """
        best = read_entry(self.folder / BEST)
        if self.keep is not Keep.best or best is None:
            return
        newest, trunk = self._all()[:1], self._of_trunk()
        ends_in_trunk = newest == trunk[:1]
        known = [best, *newest, *trunk[: 2 if ends_in_trunk else 1]]
        with storage_errors(self.folder):
            if not ends_in_trunk:
                (self.folder / LAST).unlink(missing_ok=True)
            kept = {entry.step for entry in trunk[:1]}
            self._leave(kept.union(*(entry.bests for entry in known)))

    def _all(self) -> list[Entry]:
        """All entries that can be read, newest first."""
        readable = (read_entry(path) for path in self.folder.glob("step-*.json"))
        return sorted((e for e in readable if e is not None), key=lambda e: e.step, reverse=True)

    def _of_trunk(self) -> list[Entry]:
        """The entries from which a longer run may go on, newest first."""
        return [entry for entry in self._all() if self.trunk and entry.step <= self.trunk]

    def _prune(self) -> None:
        """Keep the last two, the last of the trunk, and the bests as each of them knew them."""
        if self.keep is Keep.best:
            kept = [*self._all()[:2], *self._of_trunk()[:1]]
            with storage_errors(self.folder):
                self._leave({step for entry in kept for step in (entry.step, *entry.bests)})

    def _leave(self, steps: set[int]) -> None:
        """Remove the checkpoints of other steps, entries first, and files without an entry."""
        stems = {f"step-{step}" for step in steps}
        gone = [path for path in sorted(self.folder.glob("step-*")) if path.stem not in stems]
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            sync_folder(self.folder)

    def _write(self, name: str, entry: Entry) -> None:
        if read_entry(self.folder / name) != entry:
            value = asdict(entry)
            if entry.averages is None:  # as before there were any
                del value["averages"]
            write_json(self.folder / name, value)


def read_entry(path: Path) -> Entry | None:
    """The entry in a file; None when it is missing or damaged."""
    with contextlib.suppress(DamagedError):
        return read_json(path, Entry, "use another checkpoint")
    return None


def verified_bytes(path: Path, entry: Entry | None) -> bytes:
    """The content of a checkpoint file, compared with its entry's digest where there is one.

    torch loads a flipped bit without a word, so this comes before anything is read. Raises
    CheckpointError.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if entry is not None and size != entry.size:
                raise _damaged(path, f"{size:,} bytes, not {entry.size:,}")
            data = file.read(size)
    except OSError as error:
        problem = Problem(path, f"{error.strerror}", "name a checkpoint file")
        raise CheckpointError(problem) from error
    digest = hashlib.sha256(data).hexdigest()
    if entry is not None and digest != entry.sha256:
        raise _damaged(path, f"SHA-256 {digest[:12]}..., not {entry.sha256[:12]}...")
    return data


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(Problem(path, f"damaged: {what}", "use another checkpoint"))


def weights_digest(run: Path) -> str | None:
    """The digest of the weights behind a run directory or a checkpoint file, read without torch.

    None where their entry does not hold it, or the file is not what the entry says.
    """
    if run.is_dir():
        folder = run / "checkpoints"
        entry = read_entry(folder / BEST)
    else:
        folder, entry = run.parent, read_entry(run.with_suffix(".json"))
    if entry is None or entry.weights_sha256 is None:
        return None
    try:
        verified_bytes(folder / entry.file, entry)
    except CheckpointError:
        return None
    return entry.weights_sha256
