"""The trainer's arithmetic against a loop as a textbook writes it."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gptexp.config import Config
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.models.build import build_model
from gptexp.runtime.random import stream_seed

STEPS, LR, BETAS, DECAY, CLIP = 200, 1e-2, (0.9, 0.99), 0.1, 0.5

SETTINGS = [
    *("model.dropout=0", "model.n_layer=2", f"trainer.max_steps={STEPS}", "trainer.log_interval=1"),
    *("trainer.eval_interval=200", "trainer.sample_interval=0", f"trainer.grad_clip={CLIP}"),
    *(f"optim.lr={LR}", f"optim.weight_decay={DECAY}", "optim.beta1=0.9", "optim.beta2=0.99"),
    *("schedule.warmup_steps=10", "schedule.final_fraction=0.1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_losses_over_200_steps_are_those_of_a_plain_eager_loop(small, tmp_path, dtype, tolerance):
    config = small(*SETTINGS, f"trainer.dtype={dtype}")
    outcome = run_experiment(config, tmp_path / "outputs")
    lines = map(json.loads, (outcome.path / "metrics.jsonl").read_text().splitlines())
    ours = [line["train/loss"] for line in lines if "train/loss" in line]
    theirs = plain_losses(config, getattr(torch, dtype))
    assert len(ours) == STEPS
    assert ours[-1] < ours[0] - 0.5
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < tolerance


def plain_losses(config: Config, dtype: torch.dtype) -> list[float]:
    """One batch, one update at a time, each tensor by itself."""
    inputs = prepare(config, identify(config, Path("outputs")))
    model = build_model(config.model, inputs.tokenizer.vocab_size, stream_seed(config.seed, "init"))
    model.to(dtype).train()
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, foreach=False, fused=False)
    losses = []
    for step in range(STEPS):
        batch = inputs.corpus.batch(step)
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = LR * share(step)
        optimizer.step()
        losses.append(loss.item())
    return losses


def share(step: int) -> float:
    """Warm-up over 10 steps, then a cosine to a tenth."""
    if step < 10:
        return (step + 1) / 11
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 10) / (STEPS - 10)))
