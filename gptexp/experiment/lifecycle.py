"""What stands in a run's directory, and its status kept true. Torch-free until a run is made."""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from gptexp import plugins
from gptexp.config import Config
from gptexp.errors import (
    ConfigError,
    DamagedError,
    DivergedError,
    GptexpError,
    Pause,
    Problem,
    StorageError,
)
from gptexp.experiment.identity import Identity, identify, to_be_replaced
from gptexp.experiment.reuse import reused
from gptexp.experiment.screen import show_summary
from gptexp.runs import provenance
from gptexp.runs.directory import OUTPUTS, RunDirectory
from gptexp.runs.entries import Entries
from gptexp.runs.log import logged_to, open_log
from gptexp.runs.schema import Summary
from gptexp.runs.seal import journal_digests
from gptexp.runs.state import NOT_STARTED, RECORDED, Outcome, RunState, ended_with, state_after
from gptexp.runs.summary import best_val_loss
from gptexp.text import listed

log = logging.getLogger(__name__)


def what_stands(config: Config, identity: Identity, overrides: list[str]) -> Outcome | None:
    """The outcome of a run that is over, here or in another folder; None if it is to be trained.

    Raises DivergedError for one that diverged, and DamagedError.
    """
    directory = identity.directory
    standing = None if to_be_replaced(config, directory) else _standing_outcome(config, directory)
    return standing or reused(config, identity, overrides)


def _standing_outcome(config: Config, directory: RunDirectory) -> Outcome | None:
    """The outcome of a run that is over.

    Raises DivergedError for a run that diverged: being deterministic, it would again.
    """
    if (done := directory.summary()) is not None:
        if directory.state() is not RunState.done:  # killed right after its summary
            with directory.locked():
                settle(config, directory, done)
        manifest = directory.manifest()
        changed = provenance.changed(manifest.get("sources", {}))
        had = {plugin["module"] for plugin in manifest.get("plugins", [])}
        lacks = [name for name in config.plugins if name not in had]
        notes = [f"by other code: {listed(changed)} changed"] if changed else []
        notes += [f"without {listed(lacks)}, which rerun=true trains it with"] if lacks else []
        note = "; ".join(notes)
        best = best_val_loss(done)
        return Outcome(RunState.already_done, directory.path, best, note=note)
    if directory.diverged():
        what = f"diverged before: {why(directory)}"
        raise DivergedError(Problem(directory.path, what, "trainer.retry_failed=true to try again"))
    return None


def why(directory: RunDirectory) -> str:
    """What status.json says of the end of a run, without its fix."""
    status = directory.status()
    return (status.get("what") or status.get("reason", "")) if status else ""


def settle(config: Config, directory: RunDirectory, summary: Summary) -> None:
    """Do what is left in the locked directory of a run that has its summary."""
    trunk = config.trunk_steps(directory.manifest().get("max_steps", summary["steps"]))
    Entries(directory.checkpoints, config.trainer.keep, trunk).finish()
    directory.set_status(RunState.done, summary["stop_reason"])


def complete(directory: RunDirectory, config: Config, fill: Callable[[], Summary]) -> Outcome:
    """Be the only process in the directory, with its run.log, until it has its summary.

    `fill` makes the run and returns the summary; it is not called where another process was faster.
    Shows the last lines. Raises GptexpError, once status.json says what went wrong.
    """
    from gptexp.runtime.device import cpu_threads  # torch

    threads = config.trainer.threads
    with directory.locked(), logged_to(directory.log), cpu_threads(threads):
        if (summary := directory.summary()) is None:
            with status_kept(directory):
                summary = fill()
                directory.write_json("summary.json", summary)
        settle(config, directory, summary)
        show_summary(summary, directory.path)
    return Outcome(RunState.done, directory.path, best_val_loss(summary))


def outcome_before(config: Config, overrides: list[str]) -> Outcome:
    """The outcome of a sweep's point before its turn; `not started` if it is to be trained.

    Shows the error of a point whose directory, corpus or init_from cannot be read.
    """
    path = None
    try:
        identity = identify(config, OUTPUTS)
        path = identity.directory.path
        over = what_stands(config, identity, overrides)
    except GptexpError as error:
        return ended_with(error, path=path)
    return over or replace(NOT_STARTED, path=path)


def outcome_after(directory: RunDirectory) -> Outcome:
    """The outcome of a point whose own process did not tell it, from its directory."""
    path, status = directory.path, directory.status()
    reason = status.get("reason", "") if status else ""
    try:
        done = directory.summary()
    except DamagedError as error:
        return ended_with(error, path=path)
    if done is not None:
        return Outcome(RunState.done, path, best_val_loss(done))
    match state := directory.state():
        case None:
            return replace(NOT_STARTED, path=path)
        case RunState.running:
            return Outcome(RunState.in_use, path, error="another process trains it")
        case RunState.killed:
            return Outcome(state, path, error="killed; the same command goes on")
    return Outcome(state, path, error=reason)


@contextmanager
def status_kept(directory: RunDirectory) -> Iterator[None]:
    """Keep status.json true: running inside, then what went wrong. Bugs leave as a GptexpError."""
    directory.set_status(RunState.running)
    try:
        yield
    except GptexpError as error:
        state = state_after(error, RunState.failed)
        ended(directory, state if state in RECORDED else RunState.failed, error.problems[0])
        raise
    except KeyboardInterrupt:  # outside the training loop, or the second one in it
        fix = "the same command goes on from the last save"
        ended(directory, RunState.interrupted, Pause("interrupted", "nothing saved since", fix))
        raise
    except Exception as error:
        if (mistake := _mistake(error)) is not None:
            ended(directory, RunState.failed, mistake, traceback.format_exc())
            raise ConfigError(mistake) from error
        fix = f"report it with {directory.log}; the same command goes on from what is saved"
        bug = Problem(directory.path, f"a bug in gptexp, {type(error).__name__}: {error}", fix)
        problem = plugins.culprit(error) or bug
        ended(directory, RunState.failed, problem, traceback.format_exc())
        raise GptexpError(problem) from error


@contextmanager
def mistakes_worded() -> Iterator[None]:
    """Have what the config asks of the machine in vain leave as a ConfigError."""
    try:
        yield
    except Exception as error:
        if (mistake := _mistake(error)) is not None:
            raise ConfigError(mistake) from error
        raise


def _mistake(error: Exception) -> Problem | None:
    """What the config asks of the machine in vain, by what torch raised; None for other errors."""
    from gptexp.runtime.memory import is_out_of_memory  # torch
    from gptexp.training.compiling import why_not_compiled

    if is_out_of_memory(error):
        fix = "halve it and double trainer.grad_accum"
        return Problem("trainer.batch_size", "out of memory", fix)
    if (why := why_not_compiled(error)) is not None:
        return Problem("trainer.compile", f"torch.compile failed: {why}", "trainer.compile=false")
    return None


def ended(directory: RunDirectory, state: RunState, problem: Problem, trace: str = "") -> None:
    """Write down how the run ended, as far as the disk still lets it be written."""
    with contextlib.suppress(StorageError, OSError):
        with open_log(directory.log) as file:
            file.write(f"{state}: {problem}\n{trace}")
        what = f"{problem.subject}: {problem.what}"
        directory.set_status(state, str(problem), what, journal_digests(directory.path))
