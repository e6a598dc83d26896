"""Checkpoints of whole runs: their damage, their best, their keys and their kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import only_run, stop_before_step
from small_runs import metrics, samples, summary
from small_stores import (
    entry,
    flipped,
)
from torch import Tensor

import gptexp
from gptexp.config import Config
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.weights import read_checkpoint
from gptexp.training.trainer import Trainer


def test_C1_a_run_whose_newest_checkpoint_is_damaged_ends_as_if_uninterrupted(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    config = small()
    straight = run_experiment(config, tmp_path / "straight").path
    stop_before_step(config, tmp_path / "other", 9)
    stopped = only_run(config, tmp_path / "other")
    (stopped / "checkpoints/step-8.pt").write_bytes(b"\0" * 1000)
    assert run_experiment(config, tmp_path / "other").exit_code == 0
    for of in (summary, metrics, samples):
        assert of(stopped) == of(straight)


def test_P4_C1_a_damaged_best_checkpoint_is_found_before_training_goes_on(
    small: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = small("optim.lr=3.0", "trainer.max_steps=20", "trainer.patience=9")
    stop_before_step(config, tmp_path, 17)
    stopped = only_run(config, tmp_path)
    best = stopped / "checkpoints" / entry(stopped / "checkpoints/best.json")["file"]
    assert best.name not in ("step-12.pt", "step-16.pt"), "the best is to be older than the last"
    best.write_bytes(flipped(best.read_bytes(), 12345))
    steps = []
    monkeypatch.setattr(Trainer, "train_step", lambda self: steps.append(self.step))
    outcome = run_experiment(config, tmp_path)
    assert (outcome.exit_code, steps) == (2, [])
    assert best.name in caplog.text


def test_C11_a_checkpoint_of_a_compiled_run_has_the_keys_of_a_plain_one(
    small: Callable[..., Config], tmp_path: Path, compiled: list[torch.nn.Module]
) -> None:
    states = []
    for switch in ("false", "true"):
        config = small(f"trainer.compile={switch}", "trainer.max_steps=2", "trainer.keep=all")
        states.append(read_checkpoint(run_experiment(config, tmp_path).path))
    [network] = compiled
    assert all(name.startswith("_orig_mod.") for name in network.state_dict()), "else no test"
    plain, other = states
    assert keys(plain) == keys(other)


def keys(value: Any) -> Any:
    """All keys of nested dicts, in their order."""
    return {k: keys(v) for k, v in value.items()} if isinstance(value, dict) else None


def test_C12_best_is_the_minimum_of_the_logged_losses_and_evaluates_to_it_again_to_the_bit(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    config = small(
        "optim.lr=0.3", "schedule=constant", "trainer.max_steps=20", "trainer.on_overfit=observe"
    )
    run = run_experiment(config, tmp_path).path
    losses = {row["step"]: row["val/loss"] for row in metrics(run) if "val/loss" in row}
    loaded = gptexp.load(run)
    assert loaded.step == min(losses, key=lambda step: losses[step])
    assert 0 < loaded.step < 20, "the best is to be neither the first nor the last"
    inputs, size = prepare(config, identify(config, tmp_path)), config.trainer.eval_batch_size
    evaluator = Evaluator(loaded.model, inputs.corpus, loaded.tokenizer, inputs.runtime, size)
    assert evaluator.evaluate("val").loss == losses[loaded.step]
    assert losses[loaded.step] == summary(run)["best"]["val_loss"]


def test_P3_a_checkpoint_holds_tensors_numbers_strings_and_containers_alone(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    run = run_experiment(small("trainer.max_steps=2"), tmp_path).path
    [path] = (run / "checkpoints").glob("*.pt")
    loaded = torch.load(path, weights_only=True)
    assert {"model", "optimizer", "stop", "rng", "step", "config", "tokenizer"} <= loaded.keys()
    assert kinds(loaded) <= {Tensor, int, float, str, bool, type(None)}


def kinds(value: Any) -> set[type]:
    if isinstance(value, dict):
        return set().union(*map(kinds, [*value.keys(), *value.values()]))
    if isinstance(value, list | tuple):
        return set().union(*map(kinds, value))
    return {type(value)}
