"""What stands in a run's directory: over, to be taken up, or to be replaced."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptexp.config import Config
from gptexp.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    ConfigError,
    DivergedError,
    GptexpError,
    StorageError,
)
from gptexp.experiment.identity import identify
from gptexp.runs import provenance
from gptexp.runs.checkpoint import Store
from gptexp.runs.directory import OUTPUTS, RunDirectory
from gptexp.runs.state import NOT_STARTED, Outcome, ended_with, state_after
from gptexp.runs.summary import best_val_loss
from gptexp.runtime.memory import is_out_of_memory

log = logging.getLogger(__name__)


def to_be_replaced(config: Config, directory: RunDirectory) -> bool:
    """Whether what stands in the directory is to go, so that the run starts anew."""
    diverged = directory.status().get("state") == "diverged"
    wanted = config.rerun or (diverged and config.trainer.retry_failed)
    return wanted and directory.path.exists()


def standing_outcome(config: Config, directory: RunDirectory) -> Outcome | None:
    """The outcome of a run that is over.

    Raises DivergedError for a run that diverged: being deterministic, it would again.
    """
    if (done := directory.summary()) is not None:
        if directory.status().get("state") != "done":  # killed right after its summary
            with directory.locked():
                settle(config, directory, done)
        changed = provenance.changed(directory.manifest().get("sources", {}))
        note = f"by other code: {', '.join(changed)} changed" if changed else ""
        best = best_val_loss(done)
        return Outcome("already done", 0, directory.path, best, note=note)
    status = directory.status()
    if status.get("state") == "diverged":
        raise DivergedError(
            f"{directory.path}: diverged before (trainer.retry_failed=true tries it again): "
            f"{status['reason']}"
        )
    return None


def settle(config: Config, directory: RunDirectory, result: dict[str, Any]) -> None:
    """What is left to do in the locked directory of a run that has its summary."""
    Store(directory.checkpoints, config.trainer.keep).finish()
    directory.set_status("done", result["stop_reason"])


def outcome_before(config: Config, outputs: Path = OUTPUTS) -> Outcome:
    """What there is of a sweep's point before its turn comes; `not started` if it is to be trained.

    Shows one line for a point that is over, or whose corpus or init_from cannot be read.
    """
    path = None
    try:
        directory = identify(config, outputs).directory
        path = directory.path
        if not to_be_replaced(config, directory) and (over := standing_outcome(config, directory)):
            best = "" if over.best_val_loss is None else f", best {over.best_val_loss:.4f}"
            log.info("already done  %s%s%s", path, best, f", {over.note}" if over.note else "")
            return over
    except GptexpError as error:
        return ended_with(error, path=path)
    return replace(NOT_STARTED, directory=path)


def outcome_after(directory: RunDirectory) -> Outcome:
    """What the directory says of a point whose own process did not say it."""
    path, status = directory.path, directory.status()
    if (done := directory.summary()) is not None:
        return Outcome("done", 0, path, best_val_loss(done))
    match state := directory.state():
        case None:
            return replace(NOT_STARTED, directory=path)
        case "running":
            return Outcome("in use", 6, path, error="another process trains it")
        case "killed":
            return Outcome(state, EXIT_BUG, path, error="killed; the same command goes on")
        case "interrupted":
            return Outcome(state, EXIT_INTERRUPTED, path, error=status["reason"])
    return Outcome(state, EXIT_BUG, path, error=status["reason"])


@contextmanager
def status_kept(directory: RunDirectory) -> Iterator[None]:
    """Keep status.json true: running inside, then what went wrong. Bugs leave as a GptexpError."""
    directory.set_status("running")
    try:
        yield
    except GptexpError as error:
        ended(directory, state_after(error, "failed"), error.problems[0])
        raise
    except KeyboardInterrupt:  # outside the training loop, or the second one in it
        line = "interrupted: nothing saved since. Fix: the same command goes on from the last save"
        ended(directory, "interrupted", line)
        raise
    except Exception as error:
        if is_out_of_memory(error):
            line = "trainer.batch_size: out of memory. Fix: halve it and double trainer.grad_accum"
            ended(directory, "failed", line)
            raise ConfigError(line) from error
        line = f"{type(error).__name__}: {error}"
        ended(directory, "failed", line, traceback.format_exc())
        raise GptexpError(
            f"{directory.path}: a bug in gptexp, {line}. "
            f"Fix: report it with {directory.log}; the same command goes on from what is saved"
        ) from error


def ended(directory: RunDirectory, state: str, line: str, trace: str = "") -> None:
    """As far as the disk still lets it be written down."""
    with contextlib.suppress(StorageError, OSError):
        with directory.log.open("a", encoding="utf-8") as file:
            file.write(f"{state}: {line}\n{trace}")
        directory.set_status(state, line)
