"""Activation checkpointing: blocks are computed again, and nothing else changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from switches import COMBINATIONS, words
from torch import Tensor, nn

from gptexp.config import Config, GPTConfig
from gptexp.data.corpus import Batch
from gptexp.models.base import Model
from gptexp.models.build import build_model
from gptexp.models.counts import training_memory
from gptexp.models.gpt import GPT
from gptexp.runtime.device import Runtime
from gptexp.runtime.random import seed_dropout
from gptexp.training.step import UpdateStep

VOCAB, STEPS = 11, 3


@pytest.fixture
def base(small: Callable[..., Config]) -> GPTConfig:
    return replace(small().model, n_layer=3, n_head=4, n_embd=32, block_size=12, dropout=0.2)


def trained(
    cfg: GPTConfig, recomputes: bool, dtype: torch.dtype = torch.float32, compile: bool = False
) -> list[Tensor]:
    """Losses of a few updates, the weights after them, and where dropout draws on from."""
    model, runtime = build_model(cfg, VOCAB, seed=0).train(), Runtime(torch.device("cpu"), dtype)
    model.recomputes = recomputes
    update = UpdateStep(model, torch.optim.SGD(model.parameters()), runtime, 1.0, compile)
    seed_dropout(0)
    ids = torch.randint(VOCAB, (STEPS, 4, 13), generator=torch.Generator().manual_seed(1))
    losses = [
        update(Batch(some[:, :-1], some[:, 1:]), 2, step, 48, lr=0.1)
        for step, some in enumerate(ids, start=1)
    ]
    return [*losses, *model.state_dict().values(), torch.get_rng_state()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("switches", COMBINATIONS, ids=words)
def test_losses_and_weights_are_the_same_bits_with_any_switches(base, switches):
    cfg = replace(base, **switches)
    assert same(trained(cfg, True), trained(cfg, False))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_they_are_the_same_bits_in_any_arithmetic(base, dtype, dropout):
    cfg = replace(base, dropout=dropout)
    assert same(trained(cfg, True, dtype), trained(cfg, False, dtype))


@pytest.mark.slow
def test_they_are_the_same_bits_when_compiled_and_the_graph_is_one(base):
    pytest.importorskip("torch._dynamo")
    cfg = replace(base, n_layer=2)
    torch._dynamo.utils.counters.clear()
    assert same(trained(cfg, True, compile=True), trained(cfg, False, compile=True))
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(("recomputes", "times"), [(False, 1), (True, 2)])
def test_a_block_is_passed_through_once_more(base, recomputes, times):
    model = build_model(base, VOCAB, seed=0).train()
    model.recomputes = recomputes
    seen = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda *_: seen.append(1))
    ids = torch.zeros(1, 12, dtype=torch.long)
    model(ids).sum().backward()
    assert len(seen) == times * base.n_layer
    with torch.no_grad():
        model.eval()(ids, model.new_cache())
    assert len(seen) == (times + 1) * base.n_layer


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_forward_pass_keeps_the_inputs_of_blocks_alone(base, kept_by_autograd, dropout):
    cfg = replace(base, n_layer=6, block_size=64, dropout=dropout)
    kept = kept_by_autograd(cfg, recomputes=True)
    of_the_end = 2 * cfg.n_embd  # the final norm, and what goes into the head
    mask = cfg.n_embd if dropout else 0  # of the embedding
    expected = cfg.n_layer * cfg.n_embd + of_the_end + mask
    assert kept == pytest.approx(expected, rel=0.02)
    at_once = GPT.recomputed_activations(cfg) + GPT.recomputed_by_dropout(cfg)
    whole = GPT.saved_activations(cfg) + GPT.saved_by_dropout(cfg)
    assert kept < at_once < whole


def test_the_estimate_of_memory_follows(base):
    cfg = replace(base, n_layer=12, n_embd=768, n_head=12, block_size=1024, dropout=0.0)
    runtime = Runtime(torch.device("cpu"), torch.float32)
    whole, less = (training_memory(cfg, 50_257, 12, runtime, each) for each in (False, True))
    layer = 16 * cfg.n_embd  # of a token, as long as it is held
    assert whole - less == 4 * 12 * 1024 * (11 * layer - 12 * cfg.n_embd)
    assert training_memory(replace(cfg, window=[64, 0]), 50_257, 12, runtime, True) == less


class Own(Model):
    """Of somebody's own: blocks without a config."""

    def __init__(self, cfg: Any, vocab_size: int) -> None:
        super().__init__(cfg, vocab_size)
        self.table = nn.Embedding(vocab_size, 4)
        self.block = nn.Sequential(nn.Linear(4, vocab_size), nn.Dropout(0.5))
        self.calls = 0
        self.block.register_forward_pre_hook(lambda *_: self.called())

    def called(self) -> None:
        self.calls += 1

    def forward(self, ids: Tensor) -> Tensor:
        return self.recomputed(self.block, self.table(ids))

    def init_weights(self, generator: torch.Generator) -> None:
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)


def test_an_own_model_may_have_its_blocks_recomputed(base):
    model, found = Own(base, VOCAB), []
    model.init_weights(torch.Generator().manual_seed(0))
    for model.recomputes in (False, True):
        seed_dropout(0)
        model.calls, model.table.weight.grad = 0, None
        model(torch.arange(8)[None]).square().sum().backward()
        assert model.calls == 1 + model.recomputes
        found.append(model.table.weight.grad)
    assert torch.equal(*found)
