"""What is not finite never reaches the weights, is named with its step, and is never the best."""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import Small, before
from small_runs import ONE_LINE, metrics, summary
from torch import Tensor

from gptexp.config import Config
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluation, Evaluator
from gptexp.optim import gradients
from gptexp.optim.gradients import NormWatch
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import Store
from gptexp.runs.state import Outcome
from gptexp.training import step as step_module
from gptexp.training.step import UpdateStep
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


def loss_at(step: int, value: float, patch: pytest.MonkeyPatch) -> None:
    """Make the training loss not finite, from update number `step` on."""
    updates: list[int] = []
    original = step_module.token_losses

    def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
        losses = original(logits, targets)
        return losses * value if updates and updates[-1] >= step - 1 else losses

    before(Trainer, "train_step", lambda self: updates.append(self.step), patch)
    patch.setattr(step_module, "token_losses", token_losses)


def before_clipping(action: Callable[[Trainer], None], patch: pytest.MonkeyPatch) -> None:
    """Call `action` with the trainer when the update of its step has its gradients."""
    stepping: list[Trainer] = []
    before(Trainer, "train_step", stepping.append, patch)
    before(gradients, "clip", lambda *_: action(stepping[-1]), patch)


def gradient_at(step: int, patch: pytest.MonkeyPatch, value: float = math.inf) -> None:
    """Make one gradient of update number `step` not finite, while its loss is."""

    def spoil(self: Trainer) -> None:
        if self.step == step:
            next(self.parts.model.parameters()).grad.view(-1)[3] = value

    before_clipping(spoil, patch)


def status(outcome: Outcome) -> dict[str, Any]:
    return json.loads((outcome.directory / "status.json").read_text())


def check_diverged(outcome: Outcome, step: int) -> None:
    """The step is named, and what is saved is finite and older than it."""
    assert (outcome.state, outcome.exit_code) == ("diverged", 3)
    assert f"step {step}: loss " in outcome.error
    assert f"the weights stay those of step {step - 1}. Fix: lower optim.lr" in outcome.error
    assert status(outcome)["state"] == "diverged"
    assert f"step {step}: loss " in status(outcome)["reason"]
    saved = Store(outcome.directory / "checkpoints").latest().state
    assert saved["step"] < step
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())
    moments = saved["optimizer"]["state"].values()
    assert all(torch.isfinite(tensor).all() for moment in moments for tensor in moment.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 4, 5, 12])
def test_E1_a_loss_that_is_not_finite_stops_the_run_at_its_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, value: float
) -> None:
    loss_at(step, value, monkeypatch)
    outcome = run_experiment(small(), tmp_path)
    check_diverged(outcome, step)
    last = metrics(outcome.directory)[-1]
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
    files = {path: path.stat().st_mtime_ns for path in first.directory.rglob("*")}
    again = run_experiment(config, tmp_path)
    assert (again.state, again.exit_code, steps) == ("diverged", 3, [])
    assert "diverged before: step 6: loss nan" in again.error
    assert "Fix: trainer.retry_failed=true to try again" in again.error
    assert {path: path.stat().st_mtime_ns for path in first.directory.rglob("*")} == files
    config.trainer.retry_failed = True
    tried = run_experiment(config, tmp_path)
    assert (tried.state, tried.exit_code, steps) == ("done", 0, list(range(12)))
    assert tried.directory == first.directory
    old = first.directory.with_name(f"{first.directory.name}.old1")
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
    last = metrics(outcome.directory)[-1]
    assert (last["step"], last["train/grad_norm"]) == (7, None)
    assert math.isfinite(last["train/loss"])


def test_E1_weights_that_explode_stop_the_run_by_themselves(small: Small, tmp_path: Path) -> None:
    config = small("optim.lr=1e30", "schedule.warmup_steps=0", "trainer.grad_clip=0")
    outcome = run_experiment(config, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("diverged", 3)
    saved = Store(outcome.directory / "checkpoints").latest().state
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


def nan_at(steps: set[int], patch: pytest.MonkeyPatch, split: str = "val") -> None:
    """Make the evaluations of `split` at `steps` come out as NaN."""
    at: list[int] = []
    original = Evaluator.evaluate

    def evaluate(self: Evaluator, name: str, limit: int | None = None) -> Evaluation:
        result = original(self, name, limit)
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
    rows = [row for row in metrics(outcome.directory) if "val/loss" in row]
    assert {row["step"] for row in rows if row["val/loss"] is None} == steps
    assert all(row["nonfinite"]["val/loss"] == "nan" for row in rows if row["step"] in steps)
    finite = [row for row in rows if row["step"] not in steps]
    wanted = min(finite, key=lambda row: row["val/loss"])
    best = summary(outcome.directory)["best"]
    assert (best["step"], best["val_loss"]) == (wanted["step"], wanted["val/loss"])
    assert Store(outcome.directory / "checkpoints").best()["step"] == best["step"]


def test_E3_patience_counts_nan_and_no_best_is_reported_where_there_is_none(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_at(set(range(100)), monkeypatch)
    outcome = run_experiment(small("trainer.patience=2"), tmp_path)
    assert (outcome.state, outcome.best_val_loss) == ("done", None)
    assert summary(outcome.directory)["best"] is None
    assert summary(outcome.directory)["steps"] == 4  # the evaluations at 0 and 4
    assert Store(outcome.directory / "checkpoints").latest().state["step"] == 4
    assert run_experiment(small("trainer.patience=2"), tmp_path).state == "already done"


def test_E3_nan_on_the_test_split_does_not_lose_the_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_at(set(range(100)), monkeypatch, split="test")
    outcome = run_experiment(small("data.test_fraction=0.1"), tmp_path)
    assert outcome.state == "done", outcome.error
    assert summary(outcome.directory)["test"] == {"loss": None, "bpb": None}


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the watch over the gradient norms says."""
    said: list[str] = []

    def warn(message: object, *values: object) -> None:
        said.append(str(message) % values)

    monkeypatch.setattr(gradients.log, "warning", warn)
    return said


def exploding_at(steps: set[int], patch: pytest.MonkeyPatch) -> None:
    """Make the gradients of these updates huge, and finite."""

    def explode(self: Trainer) -> None:
        if self.step in steps:
            for parameter in self.parts.model.parameters():
                parameter.grad *= 1e4

    before_clipping(explode, patch)


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
def test_E5_a_gradient_norm_that_explodes_is_warned_of_once(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warnings: list[str],
    grad_clip: float,
) -> None:
    config = small("trainer.log_interval=1")
    config.trainer.grad_clip = grad_clip
    exploding_at({9, 11}, monkeypatch)
    outcome = run_experiment(config, tmp_path / "watched")
    norms = [row["train/grad_norm"] for row in metrics(outcome.directory) if "train/lr" in row]
    usual = sorted(norms[:8])
    clip = "" if grad_clip else ", or clip with trainer.grad_clip=1.0"
    [line] = warnings
    assert line == (
        f"step 9: gradient norm {norms[8]:.3g}, where {(usual[3] + usual[4]) / 2:.3g} is usual. "
        f"Fix: lower optim.lr, now 0.001{clip}"
    )
    monkeypatch.setattr(NormWatch, "see", lambda self, step, norm: None)
    unwatched = run_experiment(config, tmp_path / "unwatched")
    assert metrics(unwatched.directory) == metrics(outcome.directory)
    assert summary(unwatched.directory) == summary(outcome.directory)
    assert len(warnings) == 1


def test_E5_nothing_is_said_of_a_quiet_run_and_before_a_norm_is_usual(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    config = small("trainer.log_interval=1")
    assert run_experiment(config, tmp_path / "quiet").state == "done"
    exploding_at({gradients.ENOUGH}, monkeypatch)
    assert run_experiment(config, tmp_path / "early").state == "done"
    assert warnings == []


def test_E5_what_is_usual_is_the_median_of_the_log_lines_before(warnings: list[str]) -> None:
    watch = NormWatch(lr=0.5, grad_clip=1.0)
    for step, norm in enumerate([900.0, 1.0, 2.0, 3.0, 4.0]):
        watch.see(step, norm)
    watch.see(5, 3.0 * gradients.EXPLODED)
    assert warnings == []
    watch.see(6, 3.5 * gradients.EXPLODED + 1)
    assert warnings == [
        "step 6: gradient norm 71, where 3.5 is usual. Fix: lower optim.lr, now 0.5"
    ]


def test_E5_a_warning_reaches_the_screen_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("gptexp"), "propagate", True)
    watch = NormWatch(lr=0.5, grad_clip=0.0)
    for step, norm in enumerate([1.0] * 5 + [1e9] * 2):
        watch.see(step, norm)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert ONE_LINE.fullmatch(record.getMessage())


def state_digest(self: Trainer) -> str:
    """Of the weights and the optimizer's moments."""
    total = hashlib.sha256(checkpoint.digest(self.parts.model.state_dict()).encode())
    for index, moments in self.parts.optimizer.state_dict()["state"].items():
        tensors = {k: v for k, v in moments.items() if v is not None}
        total.update(f"{index} {checkpoint.digest(tensors)}".encode())
    return total.hexdigest()


def run_ahead(config: Config, outputs: Path, patch: pytest.MonkeyPatch) -> tuple[Outcome, Any]:
    """Train as on an accelerator, whose host learns of trouble only where it waits anyway.

    Returns the outcome and the digest of weights and moments after each update.
    """
    digests: dict[int, str] = {}
    train_step = Trainer.train_step

    def note(self: Trainer) -> None:
        train_step(self)
        digests[self.step] = state_digest(self)

    before(Trainer, "fit", lambda self, _: setattr(self.update, "runs_ahead", True), patch)
    patch.setattr(Trainer, "train_step", note)
    return run_experiment(config, outputs), digests


@pytest.mark.parametrize("trouble", ["loss", "gradient"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_E1_E2_an_accelerator_that_runs_ahead_masks_all_updates_from_the_first_bad_step_on(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, trouble: str
) -> None:
    config = small(f"optim={optimizer}")
    config.trainer.eval_interval, config.trainer.log_interval = 6, 100
    config.trainer.sample_interval = 0
    if optimizer == "sgd":
        config.optim.momentum = 0.9
    if trouble == "loss":
        loss_at(4, math.nan, monkeypatch)
    else:
        gradient_at(4, monkeypatch)
    outcome, digests = run_ahead(config, tmp_path, monkeypatch)
    assert len({digests[step] for step in (1, 2, 3)}) == 3
    assert {digests[step] for step in (4, 5, 6)} == {digests[3]}
    assert list(digests) == [1, 2, 3, 4, 5, 6]  # the host waited at the evaluation of step 6
    check_diverged(outcome, 4)
    assert metrics(outcome.directory)[-1]["step"] == 4


@pytest.mark.parametrize(
    ("waits_at", "change"),
    [
        (6, {"log_interval": 6}),
        (5, {"checkpoint_interval": 5}),
        (12, {}),
        (4, {"log_interval": 1}),
    ],
)
def test_E1_the_host_learns_of_the_first_bad_step_at_each_log_line_and_save(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    waits_at: int,
    change: dict[str, Any],
) -> None:
    config = small()
    quiet = {"eval_interval": 100, "log_interval": 100, "sample_interval": 0}
    config.trainer = replace(config.trainer, **{**quiet, **change})
    loss_at(4, math.inf, monkeypatch)
    outcome, digests = run_ahead(config, tmp_path, monkeypatch)
    check_diverged(outcome, 4)
    assert max(digests) == waits_at


def test_quiet_updates_are_the_same_with_and_without_the_mask(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the tests above: without trouble every update counts."""
    config = small()
    with monkeypatch.context() as patch:
        _, digests = run_ahead(config, tmp_path / "ahead", patch)
    assert len(set(digests.values())) == 12
    monkeypatch.setattr(UpdateStep, "_guard", lambda self, step, loss: None)
    plain = run_experiment(config, tmp_path / "plain").directory
    [ahead] = (tmp_path / "ahead" / config.name).iterdir()
    assert summary(plain) == summary(ahead)
