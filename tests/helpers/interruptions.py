"""Runs that are killed, in forked children, or end before their time: for tests of resumes."""

import importlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import metrics, samples, summary

from gptexp.config import Config, to_dict
from gptexp.experiment.run import run_experiment
from gptexp.runs import checkpoint
from gptexp.runs.entries import Entry
from gptexp.training.trainer import Trainer

# Validation improves by less than min_delta each time, so patience stops the run at step 12 of 20,
# and it does so only if the count of bad evaluations outlives the kill.
STOPS_AT_12 = ["trainer.max_steps=20", "trainer.patience=3", "trainer.min_delta=1.0"]

Small = Callable[..., Config]
LEFT: dict[str, tuple[Any, ...]] = {}


def uninterrupted(config: Config, outputs: Path) -> tuple[Any, ...]:
    """What `config` leaves when nothing stops it; each config is trained only once."""
    values = to_dict(config)
    del values["data"]["path"]
    if (key := str(values)) not in LEFT:
        LEFT[key] = finish(config, outputs)
    return LEFT[key]


def left(run: Path) -> tuple[Any, ...]:
    """All that a finished run leaves, but for time: with digests of its best and last weights."""
    return summary(run), metrics(run), samples(run), {p.name for p in run.glob("checkpoints/*")}


def finish(config: Config, outputs: Path) -> tuple[Any, ...]:
    """What `config` leaves when it is taken up in `outputs`."""
    outcome = run_experiment(config, outputs)
    assert outcome.state == "done", outcome
    return left(outcome.path)


def fork() -> int:
    """os.fork, once torch is whole."""
    complete_torch()
    return os.fork()


def complete_torch() -> None:
    """Import what torch leaves to the first optimizer: a second, which each child would take."""
    importlib.import_module("torch._dynamo")


def forked(work: Callable[[], int], seconds: int = 60) -> int:
    """Exit code of `work` in a child process; the number of a signal that killed it, negative."""
    child = fork()
    if child == 0:
        code = 99
        try:
            signal.alarm(seconds)
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_after(work: Callable[[], object], seconds: float) -> bool:
    """Whether `work`, in a child process, was still at it when it was killed after `seconds`."""
    child = fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, action: Callable[..., object], patch: Any = None) -> None:
    """Make `owner.name(...)` call `action` with the same arguments first."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        action(*arguments)
        return original(*arguments, **named)

    (patch or pytest.MonkeyPatch()).setattr(owner, name, wrapped)


def after(owner: Any, name: str, action: Callable[..., object], patch: Any = None) -> None:
    """Make `owner.name(...)` call `action` with the same arguments last."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        action(*arguments)
        return result

    (patch or pytest.MonkeyPatch()).setattr(owner, name, wrapped)


def killed(config: Config, outputs: Path, arrange: Callable[[], None]) -> None:
    """Run `config` in a child that `arrange` makes kill itself somewhere."""

    def work() -> int:
        arrange()
        return run_experiment(config, outputs).exit_code

    assert forked(work) == -signal.SIGKILL


def kill_before_step(config: Config, outputs: Path, step: int) -> None:
    def arrange() -> None:
        before(Trainer, "train_step", lambda self: die() if self.step == step else None)

    killed(config, outputs, arrange)


class Stopped(BaseException):
    """Goes through everything, as a kill does, and is cheaper."""


def stop_before_step(config: Config, outputs: Path, step: int) -> None:
    def stop(self: Trainer) -> None:
        if self.step == step:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        before(Trainer, "train_step", stop, patch)
        run_experiment(config, outputs)


def only_run(config: Config, outputs: Path) -> Path:
    [run] = (outputs / config.name).iterdir()
    return run


def check_pointers(outputs: Path) -> None:
    """Every checkpoint that a pointer names is whole."""
    for pointer in [*outputs.rglob("best.json"), *outputs.rglob("last.json")]:
        entry = Entry(**json.loads(pointer.read_text()))
        checkpoint.read(pointer.parent / entry.file, entry)
