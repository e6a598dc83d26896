"""What stands in a run's directory: over, to be taken up, or to be replaced."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptexp import provenance, summary
from gptexp.checkpoint import Store
from gptexp.config import Config
from gptexp.errors import EXIT_BUG, EXIT_INTERRUPTED, DivergedError, GptexpError
from gptexp.outcome import NOT_STARTED, Outcome, ended_with
from gptexp.preflight import identify
from gptexp.rundir import OUTPUTS, RunDirectory

log = logging.getLogger(__name__)


def to_be_replaced(config: Config, directory: RunDirectory) -> bool:
    """Whether what stands in the directory is to go, so that the run starts anew."""
    diverged = directory.status().get("state") == "diverged"
    wanted = config.rerun or (diverged and config.trainer.retry_failed)
    return wanted and directory.path.exists()


def standing(config: Config, directory: RunDirectory) -> Outcome | None:
    """The outcome of a run that is over.

    Raises DivergedError for a run that diverged: being deterministic, it would again.
    """
    if (done := directory.summary()) is not None:
        if directory.status().get("state") != "done":  # killed right after its summary
            with directory.locked():
                settle(config, directory, done)
        changed = provenance.changed(directory.manifest().get("sources", {}))
        note = f"by other code: {', '.join(changed)} changed" if changed else ""
        best = summary.best_val_loss(done)
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


def before(config: Config, outputs: Path = OUTPUTS) -> Outcome:
    """What there is of a sweep's point before its turn comes; `not started` if it is to be trained.

    Shows one line for a point that is over, or whose corpus or init_from cannot be read.
    """
    path = None
    try:
        directory = identify(config, outputs).directory
        path = directory.path
        if not to_be_replaced(config, directory) and (over := standing(config, directory)):
            best = "" if over.best_val_loss is None else f", best {over.best_val_loss:.4f}"
            log.info("already done  %s%s%s", path, best, f", {over.note}" if over.note else "")
            return over
    except GptexpError as error:
        return ended_with(error, path=path)
    return replace(NOT_STARTED, directory=path)


def after(directory: RunDirectory) -> Outcome:
    """What the directory says of a point whose own process did not say it."""
    path, status = directory.path, directory.status()
    if (done := directory.summary()) is not None:
        return Outcome("done", 0, path, summary.best_val_loss(done))
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
