"""What is not finite never reaches the weights, is named with its step, and is never the best."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interruptions import Small, before
from small_runs import metrics, summary
from spoiled_updates import check_diverged, gradient_at, loss_at

from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluation, Evaluator
from gptexp.runs.checkpoint import Store
from gptexp.training.trainer import Trainer


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 4, 5, 12])
def test_E1_a_loss_that_is_not_finite_stops_the_run_at_its_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, value: float
) -> None:
    loss_at(step, value, monkeypatch)
    outcome = run_experiment(small(), tmp_path)
    check_diverged(outcome, step)
    last = metrics(outcome.path)[-1]
    assert (last["step"], last["train/loss"]) == (step, None)
    assert last["nonfinite"]["train/loss"] == str(value)


def test_E1_a_diverged_run_is_kept_until_it_is_to_be_tried_again(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    with monkeypatch.context() as patch:
        loss_at(6, math.nan, patch)
        first = run_experiment(config, tmp_path)
    steps: list[int] = []
    before(Trainer, "train_step", lambda self: steps.append(self.step), monkeypatch)
    files = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    again = run_experiment(config, tmp_path)
    assert (again.state, again.exit_code, steps) == ("diverged", 3, [])
    assert "diverged before: step 6: loss nan" in again.error
    assert "Fix: trainer.retry_failed=true to try again" in again.error
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == files
    config.trainer.retry_failed = True
    tried = run_experiment(config, tmp_path)
    assert (tried.state, tried.exit_code, steps) == ("done", 0, list(range(12)))
    assert tried.path == first.path
    old = first.path.with_name(f"{first.path.name}.old1")
    assert json.loads((old / "status.json").read_text())["state"] == "diverged"
    config.trainer.retry_failed = False
    assert run_experiment(config, tmp_path).state == "already done"


@pytest.mark.parametrize("grad_clip", [1.0, 0.0])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_E2_a_gradient_that_is_not_finite_stops_the_run_though_the_loss_is_finite(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grad_clip: float, value: float
) -> None:
    config = small()
    config.trainer.grad_clip = grad_clip
    gradient_at(7, monkeypatch, value)
    outcome = run_experiment(config, tmp_path)
    check_diverged(outcome, 7)
    last = metrics(outcome.path)[-1]
    assert (last["step"], last["train/grad_norm"]) == (7, None)
    assert math.isfinite(last["train/loss"])


def test_E1_weights_that_explode_stop_the_run_by_themselves(small: Small, tmp_path: Path) -> None:
    config = small("optim.lr=1e30", "schedule.warmup_steps=0", "trainer.grad_clip=0")
    outcome = run_experiment(config, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("diverged", 3)
    saved = Store(outcome.path / "checkpoints").latest().state
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


def nan_at(steps: set[int], patch: pytest.MonkeyPatch, split: str = "val") -> None:
    """Make the evaluations of `split` at `steps` come out as NaN."""
    at: list[int] = []
    original = Evaluator.evaluate

    def evaluate(self: Evaluator, name: str, *part: int | None, **cap: int | None) -> Evaluation:
        result = original(self, name, *part, **cap)
        bad = name == split and at[-1] in steps
        return replace(result, loss=math.nan, bpb=math.nan) if bad else result

    before(Trainer, "evaluate_if_due", lambda self: at.append(self.step), patch)
    patch.setattr(Evaluator, "evaluate", evaluate)


@pytest.mark.parametrize("steps", [{0}, {4}, {12}, {0, 4, 8}])
def test_E3_nan_in_validation_alone_is_never_the_best(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: set[int]
) -> None:
    nan_at(steps, monkeypatch)
    outcome = run_experiment(small(), tmp_path)
    assert outcome.state == "done", outcome
    rows = [row for row in metrics(outcome.path) if "val/loss" in row]
    assert {row["step"] for row in rows if row["val/loss"] is None} == steps
    assert all(row["nonfinite"]["val/loss"] == "nan" for row in rows if row["step"] in steps)
    finite = [row for row in rows if row["step"] not in steps]
    wanted = min(finite, key=lambda row: row["val/loss"])
    best = summary(outcome.path)["best"]
    assert (best["step"], best["val_loss"]) == (wanted["step"], wanted["val/loss"])
    assert Store(outcome.path / "checkpoints").best()["step"] == best["step"]


def test_E3_patience_counts_nan_and_no_best_is_reported_where_there_is_none(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_at(set(range(100)), monkeypatch)
    outcome = run_experiment(small("trainer.patience=2"), tmp_path)
    assert (outcome.state, outcome.best_val_loss) == ("done", None)
    assert summary(outcome.path)["best"] is None
    assert summary(outcome.path)["steps"] == 4  # the evaluations at 0 and 4
    assert Store(outcome.path / "checkpoints").latest().state["step"] == 4
    assert run_experiment(small("trainer.patience=2"), tmp_path).state == "already done"


def test_E3_nan_on_the_test_split_does_not_lose_the_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_at(set(range(100)), monkeypatch, split="test")
    outcome = run_experiment(small("data.test_fraction=0.1"), tmp_path)
    assert outcome.state == "done", outcome.error
    assert summary(outcome.path)["test"] == {"loss": None, "bpb": None}
