"""metrics.jsonl and samples.jsonl: the truth about a run, line by line."""

import contextlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptexp.files import storage_errors, write_text


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
            self.file = path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """One line; NaN and infinities, for which JSON has no word, become null with a flag."""
        line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False)
        with storage_errors(self.path):
            self.file.write(line + "\n")
            self.file.flush()

    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return read_journal(self.path)

    def sync(self) -> None:
        """Bring all lines to the disk; raises StorageError."""
        with storage_errors(self.path):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Write no more."""
        with contextlib.suppress(OSError):  # each line was flushed, so none is lost here
            self.file.close()


def rewind(path: Path, step: int | None) -> list[dict[str, Any]]:
    """Take out the lines after `step`, and a torn last one; all of them for None.

    Returns the lines that stay; raises StorageError.
    """
    kept = [] if step is None else [line for line in read_journal(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
    return kept


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal, in order; a torn one is left out, a missing file is empty."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.split("\n"):  # a sample may hold what splitlines takes for a line break
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines


def curves(line: dict[str, Any]) -> dict[str, float]:
    """The points of a line of metrics.jsonl, with NaN and infinities back where null stands."""
    flags = line.get("nonfinite", {})
    values = {**line, **{name: float(word) for name, word in flags.items()}}
    return {name: value for name, value in values.items() if "/" in name and value is not None}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    bad = [k for k, v in values.items() if isinstance(v, float) and not math.isfinite(v)]
    if not bad:
        return values
    flags = {"nonfinite": {key: str(values[key]) for key in bad}}
    return {**values, **dict.fromkeys(bad), **flags}
