"""Learning rates and initial weights over the width."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interruptions import Small, finish, stop_before_step
from small_runs import summary

from gptexp.config import AdamWConfig, Config, GPTConfig, Scaling, problems
from gptexp.experiment.run import run_experiment
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.models.hooks import record_activations
from gptexp.optim.build import build_optimizer
from gptexp.optim.groups import set_rates
from gptexp.optim.scaling import scale_weights

VOCAB, WIDTHS, BASE = 16, (32, 64, 128, 256), 32
WATCHED = ("blocks.0.attention.proj", "blocks.1.mlp.up", "blocks.1.mlp.proj", "head")


def moved(cfg: GPTConfig, optim: AdamWConfig, steps: int = 4) -> dict[str, float]:
    """How far the activations of a module moved in some steps: their mean absolute change."""
    model = build_model(cfg, VOCAB, seed=0)
    scale_weights(model, optim)
    optimizer = build_optimizer(optim, model)
    ids = torch.randint(VOCAB, (8, cfg.block_size + 1), generator=torch.Generator().manual_seed(1))
    before = record_activations(model, ids[0, :-1])[2]
    for _ in range(steps):
        token_losses(model(ids[:, :-1]), ids[:, 1:]).mean().backward()
        set_rates(optimizer.param_groups, optim.lr)
        optimizer.step()
        optimizer.zero_grad()
    after = record_activations(model, ids[0, :-1])[2]
    return {name: (after[name] - before[name]).abs().mean().item() for name in WATCHED}


def growth(config: Config, scaling: Scaling) -> dict[str, float]:
    """By module, how many times as far the widest model's activations move as the narrowest's."""
    optim = replace(config.optim, scaling=scaling, base_width=BASE)
    sizes = []
    for width in WIDTHS:
        cfg = replace(config.model, n_embd=width, n_head=width // 16)
        sizes.append(moved(cfg, optim))
    return {name: sizes[-1][name] / sizes[0][name] for name in WATCHED}


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_coordinate_check_is_flat_under_mup_and_grows_without(
    small: Small, optimizer: str, tied: bool
):
    config = small(
        *(f"optim={optimizer}", "optim.lr=0.01", "model.n_layer=2", "model.dropout=0"),
        *(f"model.tie_head={str(tied).lower()}", "model.init_std=0.1"),
    )
    flat, grown = growth(config, Scaling.mup), growth(config, Scaling.none)
    assert all(0.5 < ratio < 2 for ratio in flat.values()), flat
    assert max(grown.values()) > 3, grown
    assert max(grown.values()) > 2 * max(flat.values())


def test_at_the_base_width_nothing_changes(small: Small, tmp_path: Path):
    plain, scaled = small(), small("optim.scaling=mup", "optim.base_width=16")
    one, two = (run_experiment(config, tmp_path / "runs").path for config in (plain, scaled))
    assert one != two
    assert summary(one)["final"] == summary(two)["final"]


def test_the_table_of_learning_rates_and_weights(small: Small):
    config = small("optim.scaling=mup", "optim.base_width=4", "model.tie_head=false")
    assert isinstance(config.optim, AdamWConfig)
    drawn = build_model(config.model, VOCAB, seed=0)
    model = copy.deepcopy(drawn)
    scale_weights(model, config.optim)
    optimizer = build_optimizer(config.optim, model)
    set_rates(optimizer.param_groups, 1.0)
    rates = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    before = dict(drawn.named_parameters())
    for name, parameter in model.named_parameters():
        of_matrix = parameter.ndim == 2 and name.startswith("blocks.")
        scale = 0.5 if of_matrix else 0.25 if name == "head.weight" else 1.0
        assert torch.equal(parameter, before[name] * scale), name
        lr = 0.25 if of_matrix or name == "head.weight" else 1.0
        group = rates[id(parameter)]
        assert group["lr"] == lr, name
        # What a step takes off is the same share at each width.
        decay = config.optim.weight_decay if parameter.ndim == 2 else 0.0
        assert group["lr"] * group["weight_decay"] == decay


def test_P2_a_resumed_run_under_mup_equals_one_that_never_stopped(small: Small, tmp_path: Path):
    config = small("optim.scaling=mup", "optim.base_width=4", "trainer.eval_interval=3")
    stop_before_step(config, tmp_path / "stopped", 7)
    assert finish(config, tmp_path / "stopped") == finish(config, tmp_path / "straight")


@pytest.mark.parametrize(
    "words",
    [
        ["model=mlp"],
        ["model.final_norm=false"],
        ["model.norm_gain=false"],
    ],
)
def test_a_model_that_cannot_follow_the_width_is_refused_with_a_fix(
    composed: Callable[..., Config], words: list[str]
):
    given = [*words, "optim.scaling=mup"]
    [problem] = problems(composed(*given))
    assert problem.subject == "optim.scaling"
    assert problems(composed(*given, problem.fix)) == []
