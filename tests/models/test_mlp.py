"""The perceptron, against products written by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gptexp.config import MLPConfig
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.models.counts import count_parameters
from gptexp.models.mlp import MLP

IDS = torch.tensor([[4, 0, 2, 2, 1], [3, 4, 0, 1, 0]])
TARGETS = torch.tensor([[0, 2, 2, 1, 4], [4, 0, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]])


def mlp(vocab_size=5, **changes):
    """In float64, with weights large enough for all of its parts to matter."""
    values = {"context": 3, "n_embd": 3, "n_hidden": 6, "init_std": 1.0} | changes
    cfg = MLPConfig(name="m", kind="mlp", block_size=8, **values)
    return build_model(cfg, vocab_size, seed=0).double()


def contexts(ids, context):
    """The last `context` tokens at each place, oldest first; -1 before the start."""
    padded = np.pad(ids, ((0, 0), (context - 1, 0)), constant_values=-1)
    return np.stack([padded[:, i : i + ids.shape[1]] for i in range(context)], axis=-1)


def weights_of(network):
    return [p.detach().numpy().copy() for p in (network.token_table.weight, *products(network))]


def products(network):
    return network.up.weight, network.head.weight


def by_hand(weights, context):
    """Logits, the mean loss, and its gradient in each weight: plain matrix products."""
    table, up, head = weights
    seen = contexts(IDS.numpy(), context).reshape(-1, context)  # [places, context]
    x = np.where((seen >= 0)[..., None], table[seen], 0.0).reshape(len(seen), -1)
    z = x @ up.T
    a = np.maximum(z, 0)
    logits = a @ head.T
    targets = TARGETS.numpy().reshape(-1)
    real = targets >= 0
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    loss = -np.log(shares[real, targets[real]]).mean()
    d_logits = shares.copy()
    d_logits[real, targets[real]] -= 1
    d_logits *= real[:, None] / real.sum()
    d_head = d_logits.T @ a
    d_z = (d_logits @ head) * (z > 0)
    d_up = d_z.T @ x
    d_x = (d_z @ up).reshape(*seen.shape, -1)
    d_table = np.zeros_like(table)
    np.add.at(d_table, seen[seen >= 0], d_x[seen >= 0])
    return logits, loss, [d_table, d_up, d_head]


def loss_of(network):
    return token_losses(network(IDS), TARGETS).sum() / (TARGETS != IGNORE_INDEX).sum()


@pytest.mark.parametrize("context", [1, 2, 3, 7])
def test_the_backward_pass_by_hand_is_autograd_s(context):
    network = mlp(context=context)
    logits, loss, expected = by_hand(weights_of(network), context)
    found = loss_of(network)
    found.backward()
    assert network(IDS).detach().numpy().reshape(-1, 5) == pytest.approx(logits, abs=1e-12)
    assert found.item() == pytest.approx(loss, abs=1e-12)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert np.abs(gradient).max() > 1e-2
        assert np.abs(parameter.grad.numpy() - gradient).max() < 1e-9


@pytest.mark.parametrize("context", [1, 3])
def test_the_gradient_of_every_weight_is_that_of_central_differences(context):
    network = mlp(context=context)
    loss_of(network).backward()
    width = 1e-5
    for parameter in network.parameters():
        numeric = torch.zeros_like(parameter)
        flat, found = parameter.data.view(-1), numeric.view(-1)
        for i in range(len(flat)):
            value = flat[i].item()
            above, below = (loss_of(network).item() for flat[i] in (value + width, value - width))
            flat[i] = value
            found[i] = (above - below) / (2 * width)
        torch.testing.assert_close(parameter.grad, numeric, rtol=0, atol=1e-8)


@pytest.mark.parametrize("context", [1, 2, 3, 5])
def test_a_prediction_rests_on_the_last_tokens_of_its_context_alone(context):
    network = mlp(context=context, n_hidden=32)
    ids = torch.tensor([[0, 1, 2, 3, 4, 0, 1]])
    with torch.no_grad():
        before = network(ids)[0]
        for changed in range(7):
            other = ids.clone()
            other[0, changed] = (ids[0, changed] + 1) % 5
            moved = (network(other)[0] != before).any(dim=-1)
            assert moved.nonzero().flatten().tolist() == [
                place for place in range(7) if changed <= place < changed + context
            ]


def test_there_are_zeros_before_the_start():
    network = mlp(context=3)
    ids = torch.tensor([[4, 2]])
    first, second = network.token_table(ids)[0]
    zero = torch.zeros(3, dtype=torch.float64)
    for place, inside in enumerate(([zero, zero, first], [zero, first, second])):
        expected = F.relu(torch.cat(inside) @ network.up.weight.T) @ network.head.weight.T
        torch.testing.assert_close(network(ids)[0, place], expected)


def test_the_perceptron_has_3184_parameters_and_no_biases(composed):
    cfg = composed("model=mlp").model
    assert count_parameters(cfg, 27) == {
        "token table": 27 * 16,
        "mlp": 16 * 64,
        "head": 64 * 27,
    }
    network = build_model(cfg, 27, seed=0)
    assert isinstance(network, MLP)
    assert sum(p.numel() for p in network.parameters()) == 3_184
    assert [p.ndim for p in network.parameters()] == [2, 2, 2]
    drawn = torch.cat([p.flatten() for p in network.parameters()])
    assert drawn.std().item() == pytest.approx(0.08, rel=0.05)
    assert abs(drawn.mean().item()) < 0.005


def test_the_same_seed_draws_the_same_perceptron_and_another_another():
    one, same = mlp(), mlp()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    other = build_model(one.cfg, 5, seed=1)
    assert not torch.equal(one.head.weight.float(), other.head.weight)
