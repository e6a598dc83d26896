"""How far a run has come, from the end of its journal: a long one is not read whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptexp.runs.entries import LAST, read_entry
from gptexp.runs.journal import evaluations, lowest
from gptexp.runs.lines import POSITION, Lines


@dataclass(frozen=True)
class Progress:
    """Where a run stands; losses in nats per token."""

    step: int  # updates done
    newest: dict[str, Any]  # the newest value of each curve and position, by its name
    evaluated: int | None  # the step of the newest evaluation
    best: dict[str, Any] | None  # the evaluation of the lowest validation loss
    pace: float | None  # seconds that an update took of late, evaluations included

    def left(self, steps: int | None) -> float | None:
        """Seconds until that many updates are done; None where it cannot be told."""
        if steps is None or self.pace is None:
            return None
        return max(0, steps - self.step) * self.pace


def read_progress(run: Path) -> Progress | None:
    """Where the run in a directory stands; None before the first line of its journal.

    Raises StorageError for a journal that cannot be read.
    """
    last = Lines(run / "metrics.jsonl").last()
    if not last:
        return None
    evaluation = next(evaluations(run).newest_first(), None)
    logged = next(Lines(run / "metrics.jsonl", having=b'"train/loss"').newest_first(), {})
    newest = {**_values(logged), **_values(evaluation or {}), **_values(last)}
    evaluated = None if evaluation is None else evaluation["step"]
    return Progress(last["step"], newest, evaluated, _best(run, evaluation), _pace(run, last))


def _values(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if "/" in name or name in POSITION}


def _best(run: Path, newest: dict[str, Any] | None) -> dict[str, Any] | None:
    """The evaluation of the lowest validation loss.

    The newest checkpoint knows its step, and is written right after each evaluation, so that no
    other than the newest one can be better.
    """
    if newest is None:
        return None
    entry = read_entry(run / "checkpoints" / LAST)
    if entry is not None and entry.best_step < 0:  # none was finite by then
        return lowest([newest])
    best = None if entry is None else _at(run, entry.best_step)
    return lowest(evaluations(run) if best is None else [best, newest])


def _at(run: Path, step: int) -> dict[str, Any] | None:
    """The evaluation of a step."""
    line = next(evaluations(run).since(step), None)
    return line if line is not None and line["step"] == step else None


def _pace(run: Path, last: dict[str, Any]) -> float | None:
    """Seconds for an update, over the later half of what is done: the machine may have changed."""
    before = next(Lines(run / "metrics.jsonl", needs=("seconds",)).since(last["step"] // 2), last)
    steps = last["step"] - before["step"]
    seconds = last.get("seconds", 0) - before.get("seconds", 0)
    return seconds / steps if steps > 0 and seconds > 0 else None
