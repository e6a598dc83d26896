"""An accelerator runs ahead of its host: whatever follows a bad update is masked on the device."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from interruptions import Small, before
from small_runs import metrics, summary
from spoiled_updates import check_diverged, gradient_at, loss_at

from gptexp.config import Config
from gptexp.experiment.run import run_experiment
from gptexp.runs import checkpoint
from gptexp.runs.state import Outcome
from gptexp.training.step import UpdateStep
from gptexp.training.trainer import Trainer


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
    assert metrics(outcome.path)[-1]["step"] == 4


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


def test_a_look_inside_the_model_waits_too_and_has_no_line_behind_that_of_the_bad_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("trainer.eval_interval=100", "trainer.log_interval=100")
    config.trainer.diagnostics_interval = 3
    loss_at(4, math.nan, monkeypatch)
    outcome, digests = run_ahead(config, tmp_path, monkeypatch)
    check_diverged(outcome, 4)
    assert max(digests) == 5, "the look at step 6 is not begun"
    assert [line["step"] for line in metrics(outcome.path)] == [0, 3, 4]


def test_quiet_updates_are_the_same_with_and_without_the_mask(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the tests above: without trouble every update counts."""
    config = small()
    with monkeypatch.context() as patch:
        _, digests = run_ahead(config, tmp_path / "ahead", patch)
    assert len(set(digests.values())) == 12
    monkeypatch.setattr(UpdateStep, "_guard", lambda self, step, loss: None)
    plain = run_experiment(config, tmp_path / "plain").path
    [ahead] = (tmp_path / "ahead" / config.name).iterdir()
    assert summary(plain) == summary(ahead)
