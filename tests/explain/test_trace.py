"""The numbers of `gptexp explain` are those of the model and of its update."""

import copy
import math

import pytest
import torch
from small_runs import only, tokenizer_of

from gptexp.explain.trace import Trace, trace_text
from gptexp.inference.loss import token_losses
from gptexp.models.gpt import GPT
from gptexp.models.hooks import record_activations
from gptexp.optim.build import build_optimizer

TINY = ["model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=16"]

LAPTOP = ["model=laptop", *TINY]


KINDS = [[], LAPTOP, ["model.n_layer=3"], ["model.tie_head=true"], ["model=mlp"], ["model=bigram"]]


@pytest.mark.parametrize("overrides", KINDS, ids=" ".join)
def test_logits_and_losses_are_those_of_a_plain_forward_pass(walked, overrides):
    _, network, ids, found = walked(*overrides)
    with torch.no_grad():
        logits = network.eval()(ids[None, :-1])
    losses = token_losses(logits, ids[None, 1:])
    assert torch.equal(found.logits, logits[0])
    assert torch.equal(found.losses, losses[0])
    assert found.loss == losses.mean().item()
    assert (found.ids, found.target_ids) == (ids[:-1].tolist(), ids[1:].tolist())


def test_dropout_plays_no_part(walked):
    _, network, ids, found = walked("model.dropout=0.5")
    assert network.training  # and is left so
    with torch.no_grad():
        assert torch.equal(found.logits, network.eval()(ids[None, :-1])[0])
    *_, without = walked("model.dropout=0.0")
    assert without.update == found.update


def _ids(found: Trace) -> torch.Tensor:
    return torch.tensor([*found.ids, found.target_ids[-1]])


@pytest.mark.parametrize("overrides", [[], LAPTOP, ["model.n_layer=3"]], ids=" ".join)
def test_attention_is_causal_and_each_row_adds_up_to_one(walked, overrides):
    config, network, _, found = walked(*overrides)
    assert len(found.layers) == config.model.n_layer
    with torch.no_grad():  # away from the flat attention of fresh weights
        for parameter in network.parameters():
            parameter.mul_(4.0)
    found = trace_text(network, tokenizer_of(config), config, _ids(found), 0.01)
    for block, layer in zip(network.blocks, found.layers, strict=True):
        values = block.attention.heads(block.attention_norm(layer.before)[None])[2]
        mixed = (layer.weights @ values).transpose(1, 2).reshape(layer.before.shape)
        torch.testing.assert_close(block.attention.proj(mixed), layer.attention)
        assert layer.weights.shape == (config.model.n_head, 5, 5)
        assert (layer.weights.triu(1) == 0).all()
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(config.model.n_head, 5))


@pytest.mark.parametrize("overrides", [[], LAPTOP, ["model.n_layer=3"]], ids=" ".join)
def test_the_stages_join_on_to_each_other(walked, overrides):
    """Sum of both rows; each branch is added; the last stream is what the head makes logits of."""
    _, network, ids, found = walked(*overrides)
    assert isinstance(network, GPT)
    rows = found.embeddings
    assert torch.equal(rows.tokens, network.token_table.weight[ids[:-1]])
    assert torch.equal(rows.positions, network.position_table.weight[:5])
    assert torch.equal(rows.total, rows.tokens + rows.positions)
    stream = rows.total if rows.normed is None else rows.normed
    for layer in found.layers:
        assert torch.equal(layer.before, stream)
        assert torch.equal(layer.between, layer.before + layer.attention)
        assert torch.equal(layer.after, layer.between + layer.mlp)
        assert layer.hidden.shape == (5, 4 * network.cfg.n_embd)
        stream = layer.after
    assert torch.equal(network.head(network.final_norm(stream)), found.logits)


def test_a_perceptron_has_its_context_and_hidden_units(walked):
    _, network, _, found = walked("model=mlp", "model.context=3")
    rows = found.embeddings.tokens
    assert torch.equal(found.perceptron.joined[2], rows[:3].flatten())
    assert (found.perceptron.joined[0, :32] == 0).all()
    assert torch.equal(network.head(found.perceptron.hidden), found.logits)
    assert (found.perceptron.hidden >= 0).all()


def test_a_bigram_update_counts_the_pairs(walked):
    *_, found = walked("model=bigram", text="\nmmm\n")
    assert not found.counts.seen.any()
    change = only(found.update.changes)
    assert change.change == pytest.approx(math.sqrt(1 + 2**2 + 1))  # BOS m; m m twice; m BOS
    vocab_size = len(found.vocabulary)
    pairs = [2 / (vocab_size + 1), *[3 / (vocab_size + 3)] * 2, 2 / (vocab_size + 3)]
    assert found.update.loss == pytest.approx(-sum(map(math.log, pairs)) / 4)


@pytest.mark.parametrize(
    "overrides", [[], [*LAPTOP, "trainer.grad_clip=0.1"], ["experiment=ladder_heads"]], ids=" ".join
)
def test_the_update_is_that_of_the_optimizer_built_by_hand(walked, overrides):
    config, network, ids, found = walked(*overrides)
    model = copy.deepcopy(network).eval()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(config.optim, model)
    token_losses(model(ids[None, :-1]), ids[None, 1:]).mean().backward()
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    if config.trainer.grad_clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.trainer.grad_clip)
    optimizer.step()
    with torch.no_grad():
        after = token_losses(model(ids[None, :-1]), ids[None, 1:]).mean().item()
    assert found.update.loss == pytest.approx(after, abs=1e-6)
    assert {c.name: c.gradient for c in found.update.changes} == pytest.approx(norms)
    changes = {name: (p - before[name]).norm().item() for name, p in model.named_parameters()}
    assert {c.name: c.change for c in found.update.changes} == pytest.approx(changes)
    assert found.update.gradient == pytest.approx(math.hypot(*norms.values()))


def test_an_update_of_an_untrained_microgpt_lowers_the_loss_and_leaves_the_model_alone(walked):
    _, network, _, found = walked()
    assert found.update.loss < found.loss - 0.1
    *_, again = walked()
    assert again.update == found.update
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


def test_hooks_are_taken_off_when_the_forward_pass_fails(walked):
    _, network, *_ = walked()
    with pytest.raises(IndexError):
        record_activations(network, torch.tensor([10_000]))
    assert not any(part._forward_hooks for part in network.modules())


def test_the_boundary_is_made_visible(walked):
    *_, found = walked()
    assert found.vocabulary[found.ids[0]] == found.vocabulary[found.target_ids[-1]] == "↵"
