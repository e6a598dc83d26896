"""metrics.jsonl and samples.jsonl: the truth about a run, line by line."""

import contextlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from gptexp.files import open_regular, open_to_append, storage_errors, sync_folder, write_atomic
from gptexp.runs.lines import (
    LOOKED_AT,
    POSITION,
    Lines,
    backward,
    forward,
    is_number,
    is_whole,
    parsed,
)

EVALUATION = (*POSITION, "val/loss", "val/bpb", "train/eval_loss")  # what no evaluation lacks
LOOK = "diag/logit_max"  # what no look inside the model lacks: see training/diagnostics.py


@dataclass(frozen=True)
class Sample:
    """One generated text and all that is needed to generate it again from that step's weights."""

    step: int
    prompt: str
    temperature: float
    top_k: int | None
    seed: int
    text: str  # what follows the prompt


class Journal:
    """Lines of JSON, each flushed as it is written, so that a kill tears at most the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self.file = io.TextIOWrapper(open_to_append(path), encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """One line; NaN and infinities, for which JSON has no word, become null with a flag."""
        line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False)
        with storage_errors(self.path):
            self.file.write(line + "\n")
            self.file.flush()

    def sync(self) -> None:
        """Bring all lines to the disk; raises StorageError."""
        with storage_errors(self.path):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Write no more."""
        with contextlib.suppress(OSError):  # each line was flushed, so none is lost here
            self.file.close()


@dataclass(frozen=True)
class Samples:
    """The samples among lines of samples.jsonl; each pass reads them anew."""

    lines: Lines

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample in map(_sample, self.lines) if sample is not None)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal, all in memory; raises StorageError."""
    return list(Lines(path))


def evaluations(run: Path) -> Lines:
    """The lines of a run's metrics.jsonl that are evaluations."""
    return Lines(run / "metrics.jsonl", having=b'"val/loss"', needs=EVALUATION)


def rewind(path: Path, step: int | None) -> Lines:
    """Take out the lines after `step`, and a torn last one; all of them for None.

    Returns the lines that stay. A kill at any instant loses none of them: what goes is cut off the
    end at once, or else the file is written anew beside the old one. Raises StorageError.
    """
    with storage_errors(path):
        with open_to_append(path) as file:
            size = file.seek(0, os.SEEK_END)
            end, is_tail = (0, True) if step is None else _end_of(file, size, step)
            if is_tail and end < size:
                file.truncate(end)
                os.fsync(file.fileno())
            elif is_tail and size and _last_byte(file, size) != b"\n":
                file.write(b"\n")
        if not size:  # it may be new
            sync_folder(path.parent)
        if step is not None and not is_tail:
            _write_anew(path, step)
        return Lines(path, end=path.stat().st_size)


def curves(line: dict[str, Any]) -> dict[str, float]:
    """The points of a line of metrics.jsonl, with NaN and infinities back where null stands."""
    flags = line.get("nonfinite", {})
    values = {**line, **{name: float(word) for name, word in flags.items()}}
    return {name: value for name, value in values.items() if "/" in name and value is not None}


def lowest(lines: Iterable[dict[str, Any]], name: str = "val/loss") -> dict[str, Any] | None:
    """The first of the lines with the least value of a curve; None where none has a finite one."""
    finite = (line for line in lines if line.get(name) is not None)
    return min(finite, key=lambda line: line[name], default=None)


def _end_of(file: IO[bytes], size: int, step: int) -> tuple[int, bool]:
    """Where the lines up to `step` end, looked for from the end; whether none of them comes behind.

    The sample of the best weights, written last, may be of an earlier step than those before it.
    """
    end, kept, is_tail = size, 0, True
    for begin, raw in backward(file, size):
        line = parsed(raw) if raw else None
        if line is not None and line["step"] <= step:
            kept += 1
            if kept == LOOKED_AT:
                break
        elif line is not None or not kept:
            end, is_tail = begin, is_tail and not kept
    return end, is_tail


def _last_byte(file: IO[bytes], size: int) -> bytes:
    file.seek(size - 1)
    return file.read(1)


def _write_anew(path: Path, step: int) -> None:
    """Put a journal of the lines up to `step`, byte for byte, in the place of that in `path`."""

    def write(new: IO[bytes]) -> None:
        with open_regular(path) as old:
            for raw in forward(old, path.stat().st_size):
                line = parsed(raw) if raw else None
                if raw and line is not None and line["step"] <= step:
                    new.write(raw.removesuffix(b"\n") + b"\n")

    write_atomic(path, write)


def _sample(line: dict[str, Any]) -> Sample | None:
    """The sample in a line of samples.jsonl; None where it is none."""
    try:
        sample = Sample(**line)
        texts = [text.encode(errors="replace").decode() for text in (sample.prompt, sample.text)]
    except (TypeError, AttributeError):
        return None
    is_one = is_number(sample.temperature) and type(sample.seed) is int
    if not is_one or not (sample.top_k is None or is_whole(sample.top_k)):
        return None
    return replace(sample, prompt=texts[0], text=texts[1])


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    bad = [k for k, v in values.items() if isinstance(v, float) and not math.isfinite(v)]
    if not bad:
        return values
    flags = {"nonfinite": {key: str(values[key]) for key in bad}}
    return {**values, **dict.fromkeys(bad), **flags}
