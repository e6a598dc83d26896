"""Checkpoints: tensors in and out of a store that survives a kill and finds any damage."""

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from gptexp.errors import CheckpointError, Problem
from gptexp.files import storage_errors, write_bytes
from gptexp.runs.entries import Entries, Entry, read_entry, verified_bytes
from gptexp.text import in_shell

log = logging.getLogger(__name__)

FORMAT = "gptexp checkpoint"
VERSION = 1

DEEPEST = 64  # dicts and lists in each other; a trainer's state has a handful

State = dict[str, Any]

PARTS: dict[str, type | UnionType] = {  # of a state, as TrainState.state_dict makes it
    "step": int,
    "best_step": int,
    "model": dict,
    "config": dict,
    "config_hash": str,
    "tokenizer": dict,
    "end_of_text": int | None,  # of token files
    "optimizer": dict,
    "loss_scale": dict,
    "stop": dict,
    "rng": dict,
    "rng_of_ranks": list,
    "seconds": int | float,
    "loss_count": int,
    "averages": dict,
}


@dataclass(frozen=True)
class Resumable:
    """The newest checkpoint that is whole, from which training can go on."""

    entry: Entry
    state: State


class Store(Entries):
    """The checkpoints of one run directory. The caller holds the directory's lock."""

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
        bests = {kind: part["best_step"] for kind, part in state.get("averages", {}).items()}
        entry = Entry(
            f"step-{step}.pt",
            len(data),
            hashlib.sha256(data).hexdigest(),
            step,
            best_step,
            digest(state["model"]),
            bests or None,
        )
        write_bytes(self.folder / entry.file, data)
        self.add(entry)

    def latest(self, until: int | None = None) -> Resumable | None:
        """The newest checkpoint that is whole; None if there is none. Changes nothing.

        Of a step up to `until` alone, where that is given. Each damaged one on the way is named in
        a warning. Raises CheckpointError when there are checkpoints and none is whole, or when the
        best of the one found is not.
        """
        for entry in self.newest_first(until):
            try:
                state = read(self.folder / entry.file, entry)
            except CheckpointError as error:
                problem = error.problems[0]
                log.warning("%s: %s. Using the one before.", problem.subject, problem.what)
                continue
            # The file is verified and its entry is not, so the file says what it is.
            entry = replace(entry, step=state["step"], best_step=state["best_step"])
            self.best_of(entry)
            return Resumable(entry, state)
        if any(self.folder.glob("*.json")):
            what, fix = "no checkpoint in it is whole", "rerun=true to train anew"
            raise CheckpointError(Problem(self.folder, what, fix))
        return None

    def best(self, weights: str = "raw") -> State:
        """The checkpoint of the lowest validation loss, of the weights or an average of them.

        Raises CheckpointError.
        """
        entry = self.best_entry(weights)
        return read(self.folder / entry.file, entry)


def read(path: Path, entry: Entry | None = None) -> State:
    """The checkpoint at `path`, its digest verified first; raises CheckpointError.

    An entry, such as best.json, stands for its file. A file named by the user takes its entry from
    the file beside it. One that was copied away from its entry is checked by the checksums inside
    the archive alone.
    """
    entry = entry or read_entry(path.with_suffix(".json"))
    if path.suffix == ".json" and entry is not None:
        path = path.parent / entry.file
    data = verified_bytes(path, entry)
    state = _loaded(path, data, "use a checkpoint that gptexp wrote", _foreign(path, data))
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
    if defect := next(_defects(state), ""):
        raise CheckpointError(Problem(path, f"damaged: {defect}", "use another checkpoint"))
    return state


def load_plain(path: Path, fix: str) -> Any:
    """What another program's torch.save wrote, if that is tensors, numbers and strings alone.

    Nothing in the file is run. Raises CheckpointError, with that fix.
    """
    data = verified_bytes(path, None)
    foreign = CheckpointError(Problem(path, "not a file that torch.save wrote", fix))
    state = _loaded(path, data, fix, foreign)
    if (odd := next(_outside(state), None)) is not None:
        raise CheckpointError(Problem(path, f"damaged: {odd}", fix))
    return state


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: equal for equal bits, on any device."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _defects(state: State) -> Iterator[str]:
    """What is not of the kind that a trainer saves, or larger than it is in the file."""
    for name, kind in PARTS.items():
        if name in state and not isinstance(state[name], kind):
            yield f"{name} is {type(state[name]).__name__}"
    for name in ("step", "best_step", "model"):
        if name not in state:
            yield f"{name} is missing"
    if not -1 <= state["best_step"] <= state["step"]:
        yield f"step {state['step']}, and its best {state['best_step']}"
    models = [state.get("model", {})]
    for kind, part in state.get("averages", {}).items():
        if not isinstance(part, dict) or not isinstance(part.get("model"), dict):
            yield f"the {kind} of the weights is {type(part).__name__}"
        else:
            models.append(part["model"])
    for name, weight in (item for model in models for item in model.items()):
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            yield f"model holds {type(weight).__name__}"
    yield from _outside(state)


def _outside(state: Any) -> Iterator[str]:
    """The tensors that are larger than what the file has of them, and what goes on without end."""
    level = [state]
    for _ in range(DEEPEST):
        for tensor in (value for value in level if isinstance(value, Tensor)):
            dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
            # One number can be made to look like any number of them.
            if not dense or tensor.nbytes > tensor.untyped_storage().nbytes():
                yield f"a tensor of shape {tuple(tensor.shape)} that is not in the file"
        if not (level := _inside(level)):
            return
    yield "nested too deeply"


def _inside(level: list[Any]) -> list[Any]:
    """What the dicts and lists among these hold, each once: one may stand in many places."""
    holders = (value for value in level if isinstance(value, dict | list | tuple))
    items = (i for h in holders for i in (h.values() if isinstance(h, dict) else h))
    kinds = (dict, list, tuple, Tensor)
    return [*{id(item): item for item in items if isinstance(item, kinds)}.values()]


def _loaded(path: Path, data: bytes, fix: str, foreign: CheckpointError) -> Any:
    """The content of a file of torch's; raises CheckpointError, and `foreign` for no such file."""
    _check_archive(path, data, foreign)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # A program that is not one of torch's makes the reader raise almost anything, and torch's
        # own message tells how to switch its protection off: it is not passed on.
        what = "holds something other than tensors, numbers and strings; nothing in it was run"
        raise CheckpointError(Problem(path, what, fix)) from error


def _check_archive(path: Path, data: bytes, foreign: CheckpointError) -> None:
    """Check that it is torch's kind of archive, whole by its checksums; raises CheckpointError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            # torch stores its members as they are. One that is compressed could be any size.
            whole = sum(member.file_size for member in archive.infolist()) <= len(data)
            plain = all(m.compress_type == zipfile.ZIP_STORED for m in archive.infolist())
            damaged = archive.testzip() if whole and plain else None
    except zipfile.BadZipFile as error:
        raise foreign from error
    except Exception as error:  # a damaged archive makes zipfile raise almost anything
        raise CheckpointError(
            Problem(path, f"damaged: {error}", "use another checkpoint")
        ) from error
    if not (whole and plain):
        what = "it unpacks to more than it holds, which no file of torch's does"
        raise CheckpointError(Problem(path, what, "use another checkpoint"))
    if damaged is not None:
        raise CheckpointError(Problem(path, f"damaged in {damaged}", "use another checkpoint"))
    if not any(name.endswith("/data.pkl") for name in names):
        raise foreign


def _foreign(path: Path, data: bytes) -> CheckpointError:
    fix = "name a file that gptexp wrote"
    if data[:1] == b"{" and b'"state_dict"' in data:
        fix = f"gptexp import {in_shell(path)} --from microgpt"
    return CheckpointError(Problem(path, "not a gptexp checkpoint", fix))
