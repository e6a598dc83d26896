"""The lines of a study, in results/STUDY.jsonl: one for each point that is over, and no other."""

import fcntl
import os
from pathlib import Path
from typing import IO, Any

import msgspec

from gptexp.errors import DamagedError, Problem
from gptexp.files import open_regular, open_to_append, storage_errors

FOUND = ("done", "failed", "diverged", "refused")  # what a line may say of its point


class Loss(msgspec.Struct, frozen=True):
    """An evaluation over all targets; None for what was not finite."""

    step: int
    tokens: float
    loss: float | None  # of validation, nats per token
    bpb: float | None  # the same in bits per byte
    train: float | None  # of as much of the training text, nats per token


class Cliff(msgspec.Struct, frozen=True):
    """See gptexp.analysis.cliff."""

    verdict: str
    onset: int | None  # step
    height: float


class Machine(msgspec.Struct, frozen=True):
    """Where a point was trained, and by which code."""

    cpu: str = ""
    device: str = ""
    threads: int = 0
    torch: str = ""
    python: str = ""
    commit: str = ""
    dirty: bool = False
    code: str | None = None  # digest of the sources that can change a result


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A point that is over."""

    taken: str  # when, UTC
    stage: str  # the sweep that it is a point of
    label: str
    state: str  # of FOUND
    overrides: list[str]
    hash: str  # of the config
    config: dict[str, Any]  # the values that are not gptexp's defaults, by key
    marks: dict[str, str] = {}  # where values came from that no sweep gives
    error: str = ""
    machine: Machine = Machine()
    seconds: float | None = None  # of training, on the wall
    cpu_seconds: float | None = None  # of the process, if one trained the whole run
    params: int | None = None
    params_non_embedding: int | None = None
    unique: float | None = None  # tokens of the training text
    tokens: float | None = None  # seen
    flops: float | None = None
    best: Loss | None = None
    final: Loss | None = None
    average: Loss | None = None  # the best evaluation of optim.ema's weights; `train` is None
    cliff: Cliff | None = None
    curve: list[tuple[int, float, float | None, float | None]] = []  # step, tokens, val, train
    average_curve: list[float | None] = []  # validation losses of optim.ema's weights, as `curve`

    @property
    def done(self) -> bool:
        return self.state == "done" and self.best is not None and self.final is not None


def read(file: Path) -> list[Line]:
    """The lines, of each point the newest, in the order in which points first came.

    A torn last line, which a kill leaves, is none. Raises DamagedError for any other that is not
    whole.
    """
    found: dict[str, Line] = {}
    for number, raw in enumerate(_whole(file), start=1):
        try:
            line = msgspec.json.decode(raw, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            what = f"damaged: {str(error).replace('`', '')}"
            fix = "restore it from git, or delete the line and train its point again"
            raise DamagedError(Problem(f"{file} line {number}", what, fix)) from error
        found[line.hash] = line
    return list(found.values())


def add(file: Path, line: Line) -> None:
    """Add a line, on the disk when this returns; raises StorageError.

    Other processes may add theirs. A torn last line goes.
    """
    raw = msgspec.json.encode(line) + b"\n"
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open_to_append(file) as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            _cut_torn(out)
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())


def _whole(file: Path) -> list[bytes]:
    with storage_errors(file):
        try:
            with open_regular(file) as lines:
                return [raw for raw in lines if raw.endswith(b"\n")]
        except FileNotFoundError:
            return []


def _cut_torn(out: IO[bytes]) -> None:
    size = out.seek(0, os.SEEK_END)
    out.seek(0)
    end = out.read().rfind(b"\n") + 1
    if end < size:
        out.truncate(end)
