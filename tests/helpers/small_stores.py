"""Stores of checkpoints with a few numbers in each, and how they are damaged."""

import json
from pathlib import Path
from typing import Any

import torch
from small_runs import erase

from gptexp.config import Keep
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import State, Store


def state(step: int, best_step: int) -> State:
    """The shape of a trainer's state, in little."""
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(step))
    stop = {"best_loss": 1.5, "best_step": best_step}
    return {"step": step, "model": {"weight": weight}, "stop": stop, "config": {"name": "x"}}


def filled(folder: Path, *best_steps: int, keep: Keep = Keep.best) -> Store:
    """A store with checkpoints 4, 8, ..., one for each best step as it stood then."""
    erase(folder)
    store = Store(folder, keep)
    for number, best_step in enumerate(best_steps, start=1):
        store.save(state(4 * number, best_step), 4 * number, best_step)
    return store


def resume(store: Store) -> State | None:
    """What a run that goes on does with its store: look, then make it what it was then."""
    if (newest := store.latest()) is None:
        return None
    store.rewind(newest.entry)
    return newest.state


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files_of(*steps: int) -> set[str]:
    return {f"step-{step}.{ending}" for step in steps for ending in ("pt", "json")}


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file below the folder, by its path in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def entry(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def same(one: State, other: State) -> bool:
    """Whether two states are equal to the bit."""
    plain = [{k: v for k, v in value.items() if k != "model"} for value in (one, other)]
    digests = [checkpoint.digest(value["model"]) for value in (one, other)]
    return plain[0] == plain[1] and digests[0] == digests[1]


def damages(data: bytes) -> dict[str, bytes]:
    """`data` cut short or overwritten, by what was done to it."""
    lengths = [0, 1, 4, 100, *range(200, len(data), len(data) // 12), len(data) - 1]
    cut = {f"cut at {length}": data[:length] for length in lengths}
    return cut | {"zeros": bytes(len(data)), "zeros at the end": data[:-512] + bytes(512)}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
