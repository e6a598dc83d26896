"""train/mfu: what a step is worth of the rate at which the device multiplies matrices."""

import json

import torch

from gptexp.experiment.run import run_experiment
from gptexp.experiment.verdict import Claim, Verdict, compare_curves
from gptexp.models.counts import flops_per_token
from gptexp.runtime import rate
from gptexp.runtime.device import Runtime
from gptexp.training import trainer

CPU = Runtime(torch.device("cpu"), torch.float32)


def test_it_is_the_speed_in_flops_over_the_rate_of_the_device(small, tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(trainer, "matrix_rate", lambda where: asked.append(where) or 1e9)
    config = small()
    run = run_experiment(config, tmp_path).path
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "train/loss" in line]
    vocab_size = len(set((tmp_path / "text.txt").read_text()))
    for line in trained:
        flops = line["train/tokens_per_second"] * flops_per_token(config.model, vocab_size)
        assert line["train/mfu"] == flops / 1e9
    assert len(trained) == 4
    assert len(asked) == 1


def test_the_rate_is_measured_without_a_trace_in_the_random_stream() -> None:
    before = torch.get_rng_state()
    assert rate.matrix_rate(CPU) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_of_before_it_was_logged_is_compared_all_the_same() -> None:
    old = [{"step": 3, "seconds": 1.0, "train/loss": 2.5, "train/tokens_per_second": 9.0}]
    new = [{**old[0], "seconds": 2.0, "train/mfu": 0.25}]
    assert compare_curves(old, new, Claim([], []), whole=True).verdict is Verdict.IDENTICAL
