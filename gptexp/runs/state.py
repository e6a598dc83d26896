"""What became of a run, as its command and a sweep's table say it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from gptexp.errors import (
    EXIT_BUG,
    DivergedError,
    GptexpError,
    InterruptedRunError,
    InUseError,
    StorageError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one command, or of one point of a sweep."""

    # done, already done, refused, failed, diverged, interrupted, in use, killed or not started
    state: str
    exit_code: int
    directory: Path | None = None
    best_val_loss: float | None = None  # nats per token
    error: str = ""  # the first line of it
    note: str = ""  # what to know of a run that is over, such as that other code made it


NOT_STARTED = Outcome("not started", EXIT_BUG)


def ended_with(error: GptexpError, stage: str = "refused", path: Path | None = None) -> Outcome:
    """Show the error, one line for each problem, and make it an outcome."""
    for problem in error.problems:
        log.error("%s", problem)
    return Outcome(state_after(error, stage), error.exit_code, path, error=error.problems[0])


def state_after(error: GptexpError, otherwise: str) -> str:
    """The state of a run that `error` ended."""
    match error:
        case DivergedError():
            return "diverged"
        case InterruptedRunError():
            return "interrupted"
        case InUseError():
            return "in use"
        case StorageError():
            return "failed"
    return otherwise
