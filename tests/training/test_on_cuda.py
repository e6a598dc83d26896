"""What only a CUDA card can show; skipped where there is none."""

from pathlib import Path

import pytest
import torch
from interruptions import Small, finish, stop_before_step
from small_runs import metrics

from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")

DTYPES = ["float32", "float64", "bfloat16", "float16"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_is_close_to_float32_on_a_cpu(small: Small, tmp_path: Path, dtype: str) -> None:
    words = ("model.dropout=0", "optim=adamw")
    cpu = run_experiment(small(*words, "trainer.dtype=float32"), tmp_path)
    card = run_experiment(small(*words, "trainer.device=cuda", f"trainer.dtype={dtype}"), tmp_path)
    assert card.best_val_loss == pytest.approx(cpu.best_val_loss, abs=0.02)
    environment = RunDirectory(card.path).manifest()["environment"]
    assert (environment["dtype"], environment["tf32"]) == (dtype, False)


@pytest.mark.parametrize("step", [3, 6, 9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resumed_equals_uninterrupted(small: Small, tmp_path: Path, dtype: str, step: int) -> None:
    config = small("trainer.device=cuda", f"trainer.dtype={dtype}", "trainer.log_interval=1")
    straight = finish(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "stopped", step)
    assert finish(config, tmp_path / "stopped") == straight


def test_an_overflow_in_float16_is_skipped_without_the_host(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scale that is far too high falls until the gradients fit."""
    monkeypatch.setattr("gptexp.training.loss_scale.FIRST", 2.0**30)
    words = ("trainer.device=cuda", "trainer.dtype=float16", "trainer.max_steps=40")
    outcome = run_experiment(small(*words, "trainer.log_interval=1"), tmp_path)
    assert outcome.state == "done"
    last = [row for row in metrics(outcome.path) if "train/skipped" in row][-1]
    assert last["train/skipped"] > 3
    assert last["train/loss_scale"] == 2.0 ** (30 - last["train/skipped"])
