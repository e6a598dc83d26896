"""Ctrl-C, SIGTERM and SIGHUP save, and the same command goes on."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from interruptions import (
    STOPS_AT_12,
    Small,
    after,
    before,
    finish,
    forked,
    only_run,
    uninterrupted,
)
from small_runs import last_step, status

from gptexp.experiment.lifecycle import outcome_after
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluator
from gptexp.runs.directory import RunDirectory
from gptexp.training.trainer import Trainer

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(number: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("owner", "name", "at", "saved"),
    [
        (Trainer, "train_step", 5, 6),  # the step is finished first
        (Trainer, "evaluate_if_due", 4, 4),
        (Trainer, "sample_if_due", 6, 6),
        (Trainer, "save", 4, 5),  # the write goes on, and so does the loop for one step
    ],
)
def test_D1_D2_a_signal_saves_and_the_same_command_goes_on(
    small: Small,
    tmp_path: Path,
    number: int,
    owner: Any,
    name: str,
    at: int,
    saved: int,
) -> None:
    config = small(*STOPS_AT_12)

    def work() -> int:
        before(owner, name, lambda self, *_: send(number) if due(self) else None)
        return run_experiment(config, tmp_path / "stopped").exit_code

    def due(self: Trainer) -> bool:
        sent.append(self.step == at)
        return sent.count(True) == 1 and sent[-1]

    sent: list[bool] = []
    assert forked(work) == 128 + number
    run = only_run(config, tmp_path / "stopped")
    assert status(run)["state"] == "interrupted"
    assert f"saved at step {saved} of 20" in status(run)["reason"]
    assert last_step(run) == saved
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize("number", SIGNALS)
def test_D1_D2_a_second_signal_acts_at_once(small: Small, tmp_path: Path, number: int) -> None:
    config = small()

    def work() -> int:
        before(Trainer, "train_step", lambda self: send(number, 2) if self.step == 6 else None)
        try:
            return run_experiment(config, tmp_path / "stopped").exit_code
        except KeyboardInterrupt:
            return 77

    assert forked(work) == (77 if number == signal.SIGINT else -number)
    assert last_step(only_run(config, tmp_path / "stopped")) == 4
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


def test_G8_a_signal_during_the_last_save_is_not_forgotten(small: Small, tmp_path: Path) -> None:
    """A sweep must learn of it, or it would start its next point."""
    config = small()

    def work() -> int:
        last = config.trainer.max_steps

        def interrupt(self: Trainer) -> None:
            if self.step == last:
                os.kill(os.getpid(), signal.SIGINT)

        after(Trainer, "save", interrupt)
        return run_experiment(config, tmp_path / "stopped").exit_code

    assert forked(work) == 130
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize(("owner", "name"), [(Trainer, "begin"), (Evaluator, "evaluate")])
def test_ctrl_c_before_the_training_loop_or_after_it_is_written_down(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    config = small("data.test_fraction=0.1")

    def press(_: Any, given: object = None, *__: object) -> None:
        if name == "begin" or given == "test":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        before(owner, name, press, patch)
        run_experiment(config, tmp_path)
    run = only_run(config, tmp_path)
    assert status(run)["state"] == "interrupted"
    assert "the same command goes on" in status(run)["reason"]
    found = outcome_after(RunDirectory(run))
    assert (found.state, found.exit_code) == ("interrupted", 130)
    assert run_experiment(config, tmp_path).state == "done"


def test_a_signal_gets_its_old_handler_back_after_the_run(small: Small, tmp_path: Path) -> None:
    was = [signal.getsignal(number) for number in SIGNALS]
    run_experiment(small("trainer.max_steps=1"), tmp_path)
    assert [signal.getsignal(number) for number in SIGNALS] == was
