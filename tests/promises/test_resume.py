"""A run that was stopped anywhere and taken up again ends as the one that never stopped."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import (
    STOPS_AT_12,
    Small,
    after,
    before,
    die,
    finish,
    kill_before_step,
    killed,
    left,
    stop_before_step,
    uninterrupted,
)
from small_runs import summary
from switches import COMBINATIONS, overrides, words

from gptexp.config import Config
from gptexp.experiment.run import run_experiment
from gptexp.training.early_stopping import EarlyStopping
from gptexp.training.state import TrainState
from gptexp.training.trainer import Trainer


@pytest.fixture
def straight(tmp_path: Path) -> Callable[[Config], tuple[Any, ...]]:
    return lambda config: uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize(
    ("interval", "step"),
    [(None, 0), (None, 4), (None, 11), (1, 5), (3, 7), (3, 10)],
)
def test_P2_killed_before_a_step_and_resumed_equals_uninterrupted(
    small: Small, tmp_path: Path, straight: Any, interval: int | None, step: int
) -> None:
    config = small(*STOPS_AT_12)
    expected = straight(config)
    assert expected[0]["steps"] == 12, "this test wants patience to stop the run"
    config.trainer.checkpoint_interval = interval
    kill_before_step(config, tmp_path / "killed", step)
    assert finish(config, tmp_path / "killed") == expected


@pytest.mark.slow
@pytest.mark.parametrize("switches", COMBINATIONS, ids=words)
def test_P2_whatever_switches_a_model_has_a_resume_equals_uninterrupted(
    small: Small, tmp_path: Path, straight: Any, switches: dict[str, Any]
) -> None:
    sizes = ["model.n_layer=2", "model.n_head=4", "model.n_embd=16", "trainer.max_steps=6"]
    config = small(*sizes, *overrides(switches))
    kill_before_step(config, tmp_path / "killed", 3)
    assert finish(config, tmp_path / "killed") == straight(config)


@pytest.mark.parametrize(
    ("owner", "name", "step"),
    [
        (Trainer, "evaluate_if_due", 4),  # its training step is logged and not yet saved
        (Trainer, "evaluate_if_due", 12),
        (Trainer, "sample_if_due", 6),
        (Trainer, "save", 8),
    ],
)
def test_P2_killed_at_the_end_of_a_step_and_resumed_equals_uninterrupted(
    small: Small, tmp_path: Path, straight: Any, owner: Any, name: str, step: int
) -> None:
    config = small(*STOPS_AT_12)

    def arrange() -> None:
        before(owner, name, lambda self, *_: die() if self.step == step else None)

    killed(config, tmp_path / "killed", arrange)
    assert finish(config, tmp_path / "killed") == straight(config)


@pytest.mark.parametrize("bad", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["evaluate_if_due", "save"])
def test_R7_killed_right_after_best_or_patience_changed(
    small: Small, tmp_path: Path, straight: Any, name: str, bad: int
) -> None:
    config = small(*STOPS_AT_12)

    def kill(self: Trainer) -> None:
        if self.step % 4 == 0 and self.stop.bad_evaluations == bad:
            die()

    killed(config, tmp_path / "killed", lambda: after(Trainer, name, kill))
    assert finish(config, tmp_path / "killed") == straight(config)


def test_R2_a_resume_at_every_step_equals_the_straight_run(
    small: Small, tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("trainer.eval_interval=5", "trainer.sample_tokens=2")
    expected = straight(config)
    config.trainer.checkpoint_interval = 1

    def leave_copy(self: Trainer) -> None:
        """The folder as a kill at this instant would leave it."""
        shutil.copytree(tmp_path / "source", tmp_path / f"stopped-{self.step}")

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", leave_copy, patch)
        assert finish(config, tmp_path / "source") == expected
    resumed = []
    before(TrainState, "load_state_dict", lambda self, s: resumed.append(s["step"]), monkeypatch)
    for step in range(1, 12):
        assert finish(config, tmp_path / f"stopped-{step}") == expected, f"resumed at step {step}"
    assert resumed == list(range(1, 12))


def test_R4_resuming_twice_equals_the_straight_run(
    small: Small, tmp_path: Path, straight: Any
) -> None:
    config = small("trainer.checkpoint_interval=2")
    expected = straight(config)
    for step in (3, 5, 5, 10):  # the second 5 makes no step of its own but the one that was lost
        stop_before_step(config, tmp_path / "stopped", step)
    assert finish(config, tmp_path / "stopped") == expected


def test_R4_a_finished_run_is_left_as_it_is(small: Small, tmp_path: Path) -> None:
    config = small()
    run = run_experiment(config, tmp_path).path
    files = [path for path in run.rglob("*") if path.is_file()]
    was = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    outcome = run_experiment(config, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("already done", 0)
    assert outcome.best_val_loss == summary(run)["best"]["val_loss"]
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == was


def forget_generator(self: TrainState, was: dict[str, Any]) -> None:
    torch.set_rng_state(was["rng"])


def forget_optimizer(self: TrainState, was: dict[str, Any]) -> None:
    self.parts.optimizer.load_state_dict(was["optimizer"])


def forget_stop(self: TrainState, was: dict[str, Any]) -> None:
    new = EarlyStopping(self.stop.patience, self.stop.min_delta)
    self.stop.load_state_dict(new.state_dict())


def forget_loss_sum(self: TrainState, was: dict[str, Any]) -> None:
    self.loss_sum, self.loss_count = torch.zeros(()), 0


def forget_nothing(self: TrainState, was: dict[str, Any]) -> None:
    pass


@pytest.mark.parametrize(
    ("forget", "equal"),
    [
        (forget_nothing, True),
        (forget_generator, False),
        (forget_optimizer, False),
        (forget_stop, False),
        (forget_loss_sum, False),
    ],
)
def test_R9_what_is_not_restored_shows(
    small: Small,
    tmp_path: Path,
    straight: Any,
    monkeypatch: pytest.MonkeyPatch,
    forget: Callable[..., None],
    equal: bool,
) -> None:
    config = small(*STOPS_AT_12)
    expected = straight(config)
    stop_before_step(config, tmp_path / "stopped", 5)
    restore = TrainState.load_state_dict

    def load_state_dict(self: TrainState, state: dict[str, Any]) -> None:
        was = {"rng": torch.get_rng_state()}
        was["optimizer"] = copy.deepcopy(self.parts.optimizer.state_dict())
        restore(self, state)
        forget(self, was)

    monkeypatch.setattr(TrainState, "load_state_dict", load_state_dict)
    outcome = run_experiment(config, tmp_path / "stopped")
    assert (outcome.state == "done" and left(outcome.path) == expected) is equal


def test_rerun_moves_the_old_directory_aside_and_trains_anew(small: Small, tmp_path: Path) -> None:
    config = small()
    run = run_experiment(config, tmp_path).path
    expected = left(run)
    (run / "note.txt").write_text("of the old run")
    config.rerun = True
    outcome = run_experiment(config, tmp_path)
    assert (outcome.state, outcome.path) == ("done", run)
    assert left(run) == expected
    assert not (run / "note.txt").exists()
    old = run.with_name(f"{run.name}.old1")
    assert left(old) == expected
    assert (old / "note.txt").exists()
    run_experiment(config, tmp_path)
    assert {path.name for path in run.parent.iterdir()} == {
        run.name,
        f"{run.name}.old1",
        f"{run.name}.old2",
    }
