"""A run that was stopped anywhere and taken up again ends as the one that never stopped."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
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
from small_runs import metrics, summary, weights

from gptexp.config import Config, Keep, OnOverfit
from gptexp.data import text
from gptexp.experiment import train
from gptexp.experiment.run import run_experiment
from gptexp.inference import generate
from gptexp.runs import checkpoint
from gptexp.runs.journal import Journal, read_journal
from gptexp.runtime import random
from gptexp.runtime.random import stream_seed
from gptexp.training import throughput
from gptexp.training.early_stopping import EarlyStopping
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def straight(tmp_path: Path) -> Callable[[Config], tuple[Any, ...]]:
    return lambda config: uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize(
    ("interval", "step"),
    [(None, 0), (None, 3), (None, 4), (None, 11), (1, 1), (1, 5), (1, 8), (3, 4), (3, 7), (3, 10)],
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


def test_R1_the_same_seed_twice_gives_equal_digests(small: Small, tmp_path: Path) -> None:
    config = small()
    assert finish(config, tmp_path / "one") == finish(config, tmp_path / "two")


def test_R2_a_resume_at_every_step_equals_the_straight_run(
    small: Small, tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("trainer.max_steps=20", "trainer.eval_interval=5", "trainer.sample_tokens=2")
    expected = straight(config)
    config.trainer.checkpoint_interval = 1

    def leave_copy(self: Trainer) -> None:
        """The folder as a kill at this instant would leave it."""
        shutil.copytree(tmp_path / "source", tmp_path / f"stopped-{self.step}")

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", leave_copy, patch)
        assert finish(config, tmp_path / "source") == expected
    resumed = []
    before(Trainer, "load_state_dict", lambda self, s: resumed.append(s["step"]), monkeypatch)
    for step in range(1, 20):
        assert finish(config, tmp_path / f"stopped-{step}") == expected, f"resumed at step {step}"
    assert resumed == list(range(1, 20))


@pytest.mark.parametrize(
    "change",
    [
        {"eval_interval": 5},
        {"log_interval": 1},
        {"sample_interval": 0},
        {"sample_interval": 1, "sample_tokens": 3},
        {"checkpoint_interval": 1},
        {"keep": Keep.all},
    ],
    ids=str,
)
def test_R3_looking_more_often_or_less_leaves_the_weights_equal(
    small: Small, tmp_path: Path, straight: Any, change: dict[str, Any]
) -> None:
    config = small()
    config.trainer.on_overfit = OnOverfit.observe
    expected = straight(config)[0]["final"]["weights_sha256"]
    config.trainer = replace(config.trainer, **change)
    assert finish(config, tmp_path / "other")[0]["final"]["weights_sha256"] == expected


def test_R3_a_dashboard_leaves_weights_and_metrics_equal(
    small: Small, tmp_path: Path, straight: Any
) -> None:
    expected = straight(small())
    config = small("logger=tensorboard")
    assert finish(config, tmp_path / "other") == expected
    assert list(tmp_path.glob("other/*/*/events.out.tfevents.*"))


def test_R3_the_forecast_of_the_time_leaves_no_trace(
    small: Small, tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = straight(small())
    monkeypatch.setattr(throughput, "seconds", lambda *_: 1.0)
    assert finish(small(), tmp_path / "other") == expected


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
    run = run_experiment(config, tmp_path).directory
    files = [path for path in run.rglob("*") if path.is_file()]
    was = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    outcome = run_experiment(config, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("already done", 0)
    assert outcome.best_val_loss == summary(run)["best"]["val_loss"]
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == was


def test_R5_the_seed_matters(small: Small, tmp_path: Path) -> None:
    config, other = small(), small()
    other.seed = 1
    one, two = (run_experiment(c, tmp_path).directory for c in (config, other))
    assert one != two
    assert weights(one) != weights(two)


@pytest.mark.parametrize(
    ("module", "stream"), [(train, "init"), (text, "data"), (random, "dropout")]
)
def test_R5_each_random_stream_matters_alone(
    small: Small,
    tmp_path: Path,
    straight: Any,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    stream: str,
) -> None:
    config = small()
    expected = straight(config)[0]["final"]["weights_sha256"]
    drawn = other_seed(module, monkeypatch)
    assert finish(config, tmp_path / "other")[0]["final"]["weights_sha256"] != expected
    assert drawn == {stream}


def test_R5_the_stream_of_samples_changes_samples_alone(
    small: Small, tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    expected = straight(config)
    drawn = other_seed(generate, monkeypatch)
    changed = finish(config, tmp_path / "other")
    assert drawn == {"sample"}
    assert changed[0]["final"] == expected[0]["final"]
    assert changed[1] == expected[1]
    assert [line["text"] for line in changed[2]] != [line["text"] for line in expected[2]]


def other_seed(module: Any, patch: pytest.MonkeyPatch) -> set[str]:
    """Give the streams that `module` draws another seed; returns their names, once drawn."""
    drawn = set()
    original = stream_seed

    def other_stream_seed(seed: int, stream: str, *index: int) -> int:
        drawn.add(stream)
        return original(seed + 1, stream, *index)

    patch.setattr(module, "stream_seed", other_stream_seed)
    return drawn


def forget_generator(self: Trainer, was: dict[str, Any]) -> None:
    torch.set_rng_state(was["rng"])


def forget_optimizer(self: Trainer, was: dict[str, Any]) -> None:
    self.parts.optimizer.load_state_dict(was["optimizer"])


def forget_stop(self: Trainer, was: dict[str, Any]) -> None:
    self.stop = EarlyStopping(self.cfg.patience, self.cfg.min_delta)


def forget_loss_sum(self: Trainer, was: dict[str, Any]) -> None:
    self.loss_sum, self.loss_count = torch.zeros(()), 0


def forget_nothing(self: Trainer, was: dict[str, Any]) -> None:
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
    restore = Trainer.load_state_dict

    def load_state_dict(self: Trainer, state: dict[str, Any]) -> None:
        was = {"rng": torch.get_rng_state()}
        was["optimizer"] = copy.deepcopy(self.parts.optimizer.state_dict())
        restore(self, state)
        forget(self, was)

    monkeypatch.setattr(Trainer, "load_state_dict", load_state_dict)
    outcome = run_experiment(config, tmp_path / "stopped")
    assert (outcome.state == "done" and left(outcome.directory) == expected) is equal


def test_R10_accumulated_batches_are_close_to_one_large_batch(small: Small, tmp_path: Path) -> None:
    def trained(batch_size: int, grad_accum: int) -> torch.Tensor:
        config = small("model.dropout=0.0")
        config.trainer.batch_size, config.trainer.grad_accum = batch_size, grad_accum
        config.trainer.keep = Keep.all
        run = run_experiment(config, tmp_path).directory
        model = checkpoint.read(run / "checkpoints/step-12.pt")["model"]
        return torch.cat([tensor.flatten() for tensor in model.values()])

    large, accumulated, less = trained(8, 1), trained(4, 2), trained(4, 1)
    assert not torch.equal(large, less)
    near, far = (large - accumulated).norm(), (large - less).norm()
    assert near < 1e-3 * far, f"{near} against {far}"


def test_rerun_moves_the_old_directory_aside_and_trains_anew(small: Small, tmp_path: Path) -> None:
    config = small()
    run = run_experiment(config, tmp_path).directory
    expected = left(run)
    (run / "note.txt").write_text("of the old run")
    config.rerun = True
    outcome = run_experiment(config, tmp_path)
    assert (outcome.state, outcome.directory) == ("done", run)
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


def test_init_from_starts_from_the_best_weights_of_a_run(small: Small, tmp_path: Path) -> None:
    first = run_experiment(small("optim.lr=0.1"), tmp_path).directory
    config = small("optim.lr=1e-4")
    plain = run_experiment(config, tmp_path).directory
    config.init_from = str(first)
    second = run_experiment(config, tmp_path).directory
    assert second not in (first, plain)
    assert metrics(second)[0]["val/loss"] == summary(first)["best"]["val_loss"]
    shutil.copytree(first, tmp_path / "moved")
    config.init_from = str(tmp_path / "moved")
    assert run_experiment(config, tmp_path).state == "already done"  # by content, not by name


def test_init_from_is_resumed_as_any_run(small: Small, tmp_path: Path, straight: Any) -> None:
    config = small()
    config.init_from = str(run_experiment(config, tmp_path / "first").directory)
    expected = straight(config)
    stop_before_step(config, tmp_path / "stopped", 5)
    assert finish(config, tmp_path / "stopped") == expected


def test_init_from_refuses_another_vocabulary_and_other_shapes(
    small: Small, tmp_path: Path, text_file: Path
) -> None:
    first = run_experiment(small(), tmp_path).directory
    wider = small("model.n_embd=32")
    wider.init_from = str(first)
    outcome = run_experiment(wider, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("refused", 2)
    assert outcome.error.startswith("init_from: ")
    assert "another architecture or vocabulary: model.n_embd. Fix: " in outcome.error
    other_text = small()
    other = text_file.with_name("other.txt")
    other.write_text(text_file.read_text().replace("q", "z"))
    other_text.data.path, other_text.init_from = str(other), str(first)
    outcome = run_experiment(other_text, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("refused", 2)
    assert "another architecture or vocabulary: tokenizer. Fix: " in outcome.error
    assert [path.name for path in first.parent.iterdir()] == [first.name]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e", "é", "\r"])
def test_a_sample_with_an_unusual_line_break_survives_a_resume(
    tmp_path: Path, character: str
) -> None:
    journal = Journal(tmp_path / "samples.jsonl")
    lines = [{"step": 3, "text": f"one{character}two"}, {"step": 6, "text": character}]
    for line in lines:
        journal.write(line)
    journal.close()
    assert read_journal(tmp_path / "samples.jsonl") == lines
