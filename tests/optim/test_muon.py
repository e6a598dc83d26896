"""Muon against the formulas of its papers, and as a run's optimizer."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import Small, finish, only_run, stop_before_step
from plain_updates import Hidden, adamw, gradients_of, muon, take_steps
from small_runs import metrics
from spoiled_updates import check_diverged, gradient_at

from gptexp.config import Coefficients, Config
from gptexp.errors import CheckpointError
from gptexp.experiment.run import run_experiment
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer, describe, load_optimizer
from gptexp.optim.polar import polar_factors, polynomials
from gptexp.runs.checkpoint import Store
from gptexp.training.trainer import Trainer

STEPS = 3
COMMON = ("optim=muon", "optim.lr=0.1", "optim.weight_decay=0.5", "optim.momentum=0.9")


def after_steps(config: Config, model: Hidden) -> dict[str, torch.Tensor]:
    return take_steps(model, build_optimizer(config.optim, model), gradients_of(model, STEPS))


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"nesterov": False},
        {"coefficients": "polar_express"},
        {"normuon": True},
        {"normuon": True, "cautious": True},
        {"cautious": True},
    ],
    ids=str,
)
def test_its_steps_are_those_of_the_formulas(composed: Callable[..., Config], switches: Any):
    words = {"cautious": "cautious_decay"}
    given = [f"optim.{words.get(k, k)}={str(v).lower()}" for k, v in switches.items()]
    model = Hidden()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = gradients_of(model, STEPS)
    found = after_steps(composed(*COMMON, *given), model)
    assert torch.allclose(
        found["up.weight"], muon(before["up.weight"], gradients["up.weight"], **switches)
    )
    # Queries, keys and values lie in one, and are matrices each by itself.
    whole, seen = before["attention.qkv.weight"], gradients["attention.qkv.weight"]
    for rows in (slice(0, 4), slice(4, 6), slice(6, 8)):
        expected = muon(whole[rows], [gradient[rows] for gradient in seen], **switches)
        assert torch.allclose(found["attention.qkv.weight"][rows], expected)
    is_cautious = switches.get("cautious", False)
    for name, decay in {"table.weight": 0.5, "head.weight": 0.5, "attention.qkv.bias": 0.0}.items():
        expected = adamw(before[name], gradients[name], weight_decay=decay, cautious=is_cautious)
        assert torch.allclose(found[name], expected), name


def test_a_plain_matrix_moves_as_by_the_muon_of_torch(
    composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # torch's has no other dtype
    ours, theirs = torch.nn.Linear(6, 4), torch.nn.Linear(6, 4)
    theirs.load_state_dict(ours.state_dict())
    config, gradients = composed(*COMMON), gradients_of(ours, STEPS)
    found = take_steps(ours, build_optimizer(config.optim, ours), gradients)
    settings = {"lr": 0.1, "weight_decay": 0.5, "momentum": 0.9}
    by_torch = torch.optim.Muon([theirs.weight], **settings, adjust_lr_fn="match_rms_adamw")
    expected = take_steps(theirs, by_torch, gradients)
    assert torch.allclose(found["weight"], expected["weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("coefficients", "steps", "furthest"),
    [("newton_schulz", 5, 0.33), ("polar_express", 5, 0.2), ("polar_express", 9, 1e-6)],
)
@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5)])
def test_singular_values_end_near_one(
    coefficients: str, steps: int, furthest: float, shape: tuple[int, int]
):
    torch.manual_seed(0)
    matrices = [torch.randn(shape, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)]
    matrices.append(matrices[0] + torch.randn(shape, dtype=torch.float64))
    chosen = polynomials(Coefficients(coefficients), steps)
    for matrix, factor in zip(matrices, polar_factors(matrices, chosen), strict=True):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        values = torch.linalg.svdvals(factor)
        assert factor.shape == matrix.shape
        assert (values - 1).abs().max() < furthest
        assert torch.dist(factor, left @ right) < furthest * math.sqrt(min(shape))


def test_without_a_gradient_nothing_moves_and_of_zeros_nothing_is_divided(
    composed: Callable[..., Config],
):
    model = Hidden()
    optimizer = build_optimizer(composed("optim=muon", "optim.normuon=true").optim, model)
    before = model.up.weight.detach().clone()
    model.attention.qkv.weight.grad = torch.zeros_like(
        model.attention.qkv.weight
    )  # as behind a layer that is all 0
    optimizer.step()
    assert torch.equal(model.up.weight, before)
    assert torch.isfinite(model.attention.qkv.weight).all()


def test_groups_partition_the_parameters_of_a_gpt_and_the_split_is_said(small: Small):
    config = small("optim=muon", "optim.lr=3e-3", "optim.adam_lr=6e-3", "model.tie_head=false")
    model = build_model(config.model, 30, seed=0)
    optimizer = build_optimizer(config.optim, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices, tables, vectors = (
        [names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups
    )
    assert sorted([*matrices, *tables, *vectors]) == sorted(names.values())
    assert matrices == [
        f"blocks.0.{name}.weight"
        for name in ("attention.qkv", "attention.proj", "mlp.up", "mlp.proj")
    ]
    assert tables == ["token_table.weight", "position_table.weight", "head.weight"]
    assert [group.get("lr_scale") for group in optimizer.param_groups] == [None, 2.0, 2.0]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.05, 0.0]
    assert describe(config.optim, model) == (
        f"hidden matrices by Muon: 4 of {12 * 16**2:,} parameters; the other "
        f"{sum(p.numel() for p in model.parameters()) - 12 * 16**2:,} by AdamW"
    )


@pytest.mark.parametrize(
    "words", [[], ["optim.normuon=true", "optim.cautious_decay=true", "optim.adam_lr=0.02"]]
)
def test_P2_a_resumed_run_equals_one_that_never_stopped(
    small: Small, tmp_path: Path, words: list[str]
):
    config = small("optim=muon", "trainer.eval_interval=3", *words)
    stop_before_step(config, tmp_path / "stopped", 7)
    assert finish(config, tmp_path / "stopped") == finish(config, tmp_path / "straight")


def test_its_state_is_shared_after_it_was_taken_up(composed: Callable[..., Config]):
    config = composed("optim=muon", "optim.normuon=true")
    models = [Hidden(), Hidden()]
    models[1].load_state_dict(models[0].state_dict())
    one, two = (build_optimizer(config.optim, model) for model in models)
    first, more = gradients_of(models[0], 2), gradients_of(models[0], 4)
    take_steps(models[0], one, first)
    models[1].load_state_dict(models[0].state_dict())
    load_optimizer(two, copy.deepcopy(one.state_dict()))
    found = [take_steps(m, o, more) for m, o in zip(models, (one, two), strict=True)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in more)


def test_C7_means_of_other_rows_are_refused(composed: Callable[..., Config]):
    config = composed("optim=muon", "optim.normuon=true")
    model = Hidden()
    optimizer = build_optimizer(config.optim, model)
    take_steps(model, optimizer, gradients_of(model, 1))
    state = optimizer.state_dict()
    [index] = [
        i for i, moments in state["state"].items() if len(moments.get("row_sq_avg", ())) == 6
    ]
    state["state"][index]["row_sq_avg"] = torch.zeros(7)
    with pytest.raises(
        CheckpointError, match=r"row_sq_avg of parameter \d: checkpoint \[7\], config \[6\]"
    ):
        load_optimizer(optimizer, state)


@pytest.mark.parametrize("words", [["optim=muon"], ["optim=adamw", "optim.cautious_decay=true"]])
def test_E2_a_gradient_that_is_not_finite_leaves_weights_and_moments_as_they_were(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    config = small(*words, "trainer.checkpoint_interval=1", "trainer.keep=all")
    gradient_at(6, monkeypatch)
    states: dict[int, str] = {}

    def noted(self: Trainer) -> None:
        try:
            train_step(self)
        finally:
            states[self.step] = str(
                (self.parts.model.state_dict(), self.parts.optimizer.state_dict()["state"])
            )

    train_step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", noted)
    check_diverged(run_experiment(config, tmp_path), 6)
    assert states[6] == states[5] != states[4]
    run = only_run(config, tmp_path)
    assert Store(run / "checkpoints").latest().state["step"] == 5
    assert metrics(run)[-1]["step"] == 6


def test_a_run_with_muon_says_what_moves_what_and_learns(small: Small, tmp_path: Path):
    config = small("optim=muon", "optim.lr=0.01", "trainer.max_steps=30")
    config.trainer = replace(config.trainer, eval_interval=30)
    outcome = run_experiment(config, tmp_path)
    assert (
        "hidden matrices by Muon: 4 of 3,072 parameters" in (outcome.path / "run.log").read_text()
    )
    losses = [line["val/loss"] for line in metrics(outcome.path) if "val/loss" in line]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("normuon", [False, True])
def test_a_branch_may_begin_or_end_to_size_the_rows(small: Small, tmp_path: Path, normuon: bool):
    words = ["optim=muon", "schedule=constant"]
    base = run_experiment(small(*words, f"optim.normuon={not normuon}"), tmp_path)
    config = small(*words, f"optim.normuon={normuon}", "trainer.max_steps=16")
    config.branch_from = str(base.path)
    outcome = run_experiment(config, tmp_path)
    assert outcome.state == "done", outcome.error
