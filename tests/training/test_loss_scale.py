"""float16: the loss is scaled, an update that overflows is skipped, a resume goes on exactly."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import Small, before, finish, kill_before_step
from small_runs import metrics, refusal
from spoiled_updates import check_diverged, loss_at
from torch import nn

from gptexp.config import Config, check
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.experiment.verdict import Claim, Verdict
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.optim import gradients
from gptexp.optim.build import build_optimizer
from gptexp.optim.schedule import build_schedule
from gptexp.runs.checkpoint import Store
from gptexp.runtime.device import Runtime
from gptexp.runtime.random import stream_seed
from gptexp.training import loss_scale
from gptexp.training.loss_scale import LossScale
from gptexp.training.trainer import Trainer

CPU = torch.device("cpu")
FLOAT16 = Runtime(CPU, torch.float16)
HALF = ("trainer.dtype=float16", "trainer.log_interval=1")


def scales(run: Path) -> list[tuple[float, int]]:
    """Loss scale and skipped updates of each line of the training loss."""
    rows = [row for row in metrics(run) if "train/loss_scale" in row]
    return [(row["train/loss_scale"], row["train/skipped"]) for row in rows]


def overflow_at(steps: set[int], patch: pytest.MonkeyPatch) -> None:
    """Make gradients of these updates overflow, before the scale is taken out of them."""
    stepping: list[Trainer] = []
    before(Trainer, "train_step", stepping.append, patch)

    def spoil(*_: object) -> None:
        if stepping and stepping[-1].step in steps:
            next(stepping[-1].parts.model.parameters()).grad.view(-1)[3] = math.inf

    before(LossScale, "unscale", spoil, patch)


def test_every_run_of_another_dtype_is_without_a_scale(small: Small, tmp_path: Path) -> None:
    run = run_experiment(small(), tmp_path).path
    assert not scales(run)
    assert "loss_scale" not in Store(run / "checkpoints").latest().state


def test_float16_trains_and_is_close_to_float32(small: Small, tmp_path: Path, quick: None) -> None:
    full = run_experiment(small("model.dropout=0"), tmp_path)
    half = run_experiment(small("model.dropout=0", *HALF), tmp_path)
    assert half.best_val_loss == pytest.approx(full.best_val_loss, abs=0.002)
    assert half.best_val_loss != full.best_val_loss
    assert scales(half.path) == [(2.0**16, 0)] * 12


@pytest.mark.parametrize("first", [2.0**16, 2.0**26])
def test_float16_is_the_loop_of_torchs_tutorial(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    """A scale that is far too high costs the first updates, as it does there."""
    monkeypatch.setattr(loss_scale, "FIRST", first)
    config = small(*HALF, "trainer.grad_accum=2", "model.dropout=0", "trainer.max_steps=40")
    weights, expected = plain_loop(config, first, tmp_path)
    run = run_experiment(config, tmp_path).path
    assert scales(run) == expected
    assert (expected[-1][1] > 0) == (first > 2.0**16)
    ours = Store(run / "checkpoints").latest().state
    assert ours["step"] == 40
    assert all(torch.equal(ours["model"][name], weights[name]) for name in weights)


def plain_loop(
    config: Config, first: float, folder: Path
) -> tuple[dict[str, torch.Tensor], list[tuple[float, int]]]:
    """The weights at the end; scale and skipped updates after each step."""
    inputs = prepare(config, identify(config, folder))
    corpus, cfg = inputs.corpus, config.trainer
    model = build_model(config.model, inputs.tokenizer.vocab_size, stream_seed(config.seed, "init"))
    optimizer, schedule = build_optimizer(config.optim, model), build_schedule(config.schedule, 40)
    scaler = torch.amp.GradScaler("cpu", init_scale=first)
    skipped, seen = 0, []
    for step in range(40):
        batch = corpus.batch(step)
        count = corpus.tokens_seen(step + 1) - corpus.tokens_seen(step)
        for inputs_, targets in zip(*(part.split(cfg.batch_size) for part in batch), strict=True):
            with torch.autocast("cpu", torch.float16):
                logits = model(inputs_)
            scaler.scale(token_losses(logits, targets).sum() / count).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), cfg.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = config.optim.lr * schedule(step)
        was = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        skipped += scaler.get_scale() < was
        seen.append((scaler.get_scale(), skipped))
    return model.state_dict(), seen


@pytest.mark.parametrize("runs_ahead", [False, True])
def test_E4_an_update_that_overflows_is_skipped_at_half_the_scale(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs_ahead: bool
) -> None:
    """Its step counts, with its batch and its learning rate; its moments are as they were."""
    states: dict[int, Any] = {}

    def note(self: Trainer) -> None:
        states[self.step] = copy.deepcopy((self.state.state_dict(), self.learning_rate(self.step)))

    config = small(*HALF)
    before(Trainer, "log_if_due", note, monkeypatch)
    overflow_at({3, 6, 7}, monkeypatch)
    if runs_ahead:
        before(
            Trainer, "fit", lambda self, _: setattr(self.update, "runs_ahead", True), monkeypatch
        )
    outcome = run_experiment(config, tmp_path)
    assert outcome.state == "done"
    for step in range(2, 13):
        state, was = states[step][0], states[step - 1][0]
        stayed = all(torch.equal(state["model"][n], was["model"][n]) for n in state["model"])
        moments, earlier = (each["optimizer"]["state"] for each in (state, was))
        stayed_too = all(
            torch.equal(moments[i][k], earlier[i][k]) for i in moments for k in moments[i]
        )
        assert (stayed, stayed_too) == ((True, True) if step in {3, 6, 7} else (False, False))
    assert scales(outcome.path) == [
        *[(2.0**16, 0)] * 2,
        *[(2.0**15, 1)] * 3,
        (2.0**14, 2),
        *[(2.0**13, 3)] * 6,
    ]
    rows = {row["step"]: row for row in metrics(outcome.path) if "train/lr" in row}
    assert [step for step in rows if "nonfinite" in rows[step]] == [3, 6, 7]
    assert rows[3]["nonfinite"] == {"train/grad_norm": "inf"}
    schedule = build_schedule(config.schedule, 12)
    assert rows[3]["train/lr"] == config.optim.lr * schedule(2)


def test_the_scale_is_doubled_after_updates_that_do_not_overflow(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**8)
    monkeypatch.setattr(loss_scale, "PATIENCE", 5)
    run = run_experiment(small(*HALF), tmp_path).path
    assert [scale for scale, _ in scales(run)] == [2.0**8] * 4 + [2.0**9] * 5 + [2.0**10] * 3


@pytest.mark.parametrize("runs_ahead", [False, True])
def test_E4_gradients_that_overflow_at_any_scale_end_the_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs_ahead: bool
) -> None:
    """From 2^16 down to 1 the scale is halved 16 times, then there is nothing left to try."""
    config = small(*HALF, "trainer.max_steps=40", "trainer.patience=40")
    overflow_at(set(range(2, 40)), monkeypatch)
    if runs_ahead:
        before(
            Trainer, "fit", lambda self, _: setattr(self.update, "runs_ahead", True), monkeypatch
        )
    outcome = run_experiment(config, tmp_path)
    check_diverged(outcome, 18)
    assert "not both finite at a loss scale of 1; the weights" in outcome.error
    assert outcome.error.endswith("or trainer.dtype=float32")
    assert scales(outcome.path)[-1] == (1.0, 16)


def test_E4_a_loss_that_is_not_finite_ends_the_run_at_once_for_no_scale_would_mend_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_at(5, math.nan, monkeypatch)
    check_diverged(run_experiment(small(*HALF), tmp_path), 5)


def test_skipped_updates_are_not_warned_of_as_norms_that_explode(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[object] = []
    monkeypatch.setattr(gradients.log, "warning", lambda *words: said.append(words))
    overflow_at({8, 10}, monkeypatch)
    assert run_experiment(small(*HALF), tmp_path).state == "done"
    assert said == []


@pytest.mark.parametrize("step", [2, 5, 7, 10])
def test_P2_a_killed_run_goes_on_with_its_scale_to_the_bit(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Also with how long the scale has stood: it is doubled in the middle."""
    monkeypatch.setattr(loss_scale, "PATIENCE", 4)
    overflow_at({2, 9}, monkeypatch)
    config = small(*HALF, "trainer.checkpoint_interval=3")
    straight = finish(config, tmp_path / "straight")
    kill_before_step(config, tmp_path / "killed", step)
    assert finish(config, tmp_path / "killed") == straight
    ends = [next((tmp_path / name).rglob("checkpoints")) for name in ("straight", "killed")]
    ours, theirs = (Store(folder).latest().state["loss_scale"] for folder in ends)
    assert ours == theirs
    assert (ours["scale"], ours["skipped"]) == (2.0**15, 2)


def test_a_checkpoint_with_a_scale_that_is_none_is_refused(small: Small) -> None:
    scale = LossScale(FLOAT16)
    good = scale.state_dict()
    for bad in (math.nan, math.inf, 0.0, -1.0, 1e300):
        with pytest.raises(ValueError, match="a loss scale of"):
            scale.load_state_dict({**good, "scale": bad})
    assert scale.state_dict() == good
    scale.load_state_dict({})  # of a run in another dtype, from which this one branches
    assert scale.state_dict() == good


def test_on_another_machine_the_scale_may_have_been_halved_at_another_step() -> None:
    for name in ("train/loss_scale", "train/skipped"):
        for elsewhere, same_here in ([], False), (["threads 2 -> 1"], True):
            verdict = Claim(elsewhere, []).judge(name, 4.0, 0.0 if "skip" in name else 2.0**16)
            assert verdict is (Verdict.EQUIVALENT if same_here else Verdict.DIFFERENT)


def test_counted_bigrams_have_no_loss_to_scale(composed: Callable[..., Config]) -> None:
    line = refusal(check, composed("experiment=ladder_bigram", "trainer.dtype=float16"))
    assert line.startswith("trainer.dtype: float16 ") and line.endswith("trainer.dtype=float32")
