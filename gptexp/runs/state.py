"""What became of a run, as its status.json, its command and a sweep's table say it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gptexp.console import show_problems
from gptexp.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    ConfigError,
    DamagedError,
    DivergedError,
    GptexpError,
    InterruptedRunError,
    InUseError,
    PrunedError,
    StorageError,
)


class RunState(StrEnum):
    """The state of a run, or what a command made of it; the words are those that people read."""

    running = "running"
    done = "done"
    already_done = "already done"  # before the command was given
    refused = "refused"  # before anything was written
    failed = "failed"
    diverged = "diverged"
    interrupted = "interrupted"
    pruned = "pruned"  # given up by a search, and saved
    killed = "killed"  # running, and no process holds its directory
    in_use = "in use"  # another process holds its directory
    not_started = "not started"
    damaged = "damaged"  # a file of the directory does not hold what it should
    unknown = "unknown"  # neither a summary nor a word why there is none

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends in this state, where no error has its own."""
        codes = {
            RunState.done: EXIT_OK,
            RunState.already_done: EXIT_OK,
            RunState.pruned: EXIT_OK,
            RunState.refused: ConfigError.exit_code,
            RunState.diverged: DivergedError.exit_code,
            RunState.interrupted: EXIT_INTERRUPTED,
            RunState.in_use: InUseError.exit_code,
        }
        return codes.get(self, EXIT_BUG)


RECORDED = frozenset(  # what status.json may say
    {
        RunState.running,
        RunState.done,
        RunState.failed,
        RunState.diverged,
        RunState.interrupted,
        RunState.pruned,
    }
)


@dataclass(frozen=True)
class Outcome:
    """The end of one command, or of one point of a sweep."""

    state: RunState
    path: Path | None = None  # of the run's directory
    best_val_loss: float | None = None  # nats per token
    error: str = ""  # the first line of it
    note: str = ""  # what to know of a run that is over, such as that other code made it
    error_code: int | None = None  # the exit code of the error, where there was one

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return self.state.exit_code if self.error_code is None else self.error_code


NOT_STARTED = Outcome(RunState.not_started)


def ended_with(
    error: GptexpError, otherwise: RunState = RunState.refused, path: Path | None = None
) -> Outcome:
    """Show the error, one line for each problem, and make it an outcome.

    Its state is that of the error, or `otherwise` where the error says nothing of it.
    """
    show_problems(error)
    line = str(error.problems[0])
    return Outcome(state_after(error, otherwise), path, error=line, error_code=error.exit_code)


def state_after(error: GptexpError, otherwise: RunState) -> RunState:
    """The state of a run that `error` ended."""
    match error:
        case DivergedError():
            return RunState.diverged
        case InterruptedRunError():
            return RunState.interrupted
        case PrunedError():
            return RunState.pruned
        case InUseError():
            return RunState.in_use
        case DamagedError():
            return RunState.damaged
        case StorageError():
            return RunState.failed
    return otherwise
