"""Dropout: how much it drops, and that attention with it is the product with its masks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.models import dropout
from gptexp.models.causal import causal_attention
from gptexp.models.dropout import LEVELS, Dropout

SHAPES = [(3, 2, 150, 16), (5, 4, 64, 8), (2, 1, 7, 4), (1, 1, 1, 2)]  # batch, heads, time, width


def of(seed: int) -> None:
    torch.manual_seed(seed)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_the_share_p_is_zeroed_and_the_mean_stays(p):
    of(0)
    out = Dropout(p)(torch.ones(1000, 500))
    spread = math.sqrt(p * (1 - p) / out.numel())
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=4 * spread)
    assert out.mean().item() == pytest.approx(1, abs=4 * spread / (1 - p))
    assert out[out != 0].unique().numel() == 1


def test_values_are_dropped_independently_of_their_neighbours():
    of(0)
    kept = (Dropout(0.5)(torch.ones(1 << 18)) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 8, 64, 1024):  # four share a word of the generator
        assert abs((kept[lag:] * kept[:-lag]).mean().item()) < 4 * 0.25 / math.sqrt(1 << 18)


def test_the_same_seed_drops_the_same_values_and_the_next_mask_is_another():
    drop, x = Dropout(0.5), torch.ones(64, 64)
    of(1)
    first, second = drop(x), drop(x)
    of(1)
    assert torch.equal(drop(x), first)
    assert not torch.equal(second, first)


def test_nothing_is_drawn_in_evaluation_mode_or_for_p_of_0():
    of(2)
    before, x = torch.get_rng_state(), torch.ones(8)
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_of_dropped_values_are_0_and_the_others_are_scaled():
    of(3)
    x = torch.randn(40, 40, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.25)(x)
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad, out.detach() / x.detach())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("most", [dropout.AT_ONCE, 1000], ids=["one_piece", "many_pieces"])
def test_attention_with_dropout_is_the_masked_softmax_times_the_values(monkeypatch, shape, most):
    monkeypatch.setattr(dropout, "AT_ONCE", most)
    of(0)
    q, k, v, g = (torch.randn(shape, dtype=torch.float64) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    of(5)
    ours = causal_attention(q, k, v, 0.3)
    of(5)
    mask = drawn_mask(shape, 0.3)
    theirs = (softmax_weights(q, k) * mask) @ v
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    pairs = zip(
        torch.autograd.grad(ours, inputs, g), torch.autograd.grad(theirs, inputs, g), strict=True
    )
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    if mask.numel() > 1000:
        past = torch.ones(shape[2], shape[2], dtype=torch.bool).tril().expand(mask.shape)
        assert (mask[past] == 0).double().mean().item() == pytest.approx(0.3, abs=0.05)


def test_attention_weights_are_dropped_while_training_alone():
    of(0)
    x = torch.randn(2, 2, 9, 4)
    plain = F.scaled_dot_product_attention(x, x, x, is_causal=True)
    assert torch.equal(causal_attention(x, x, x, 0.0), plain)
    assert not torch.allclose(causal_attention(x, x, x, 0.5), plain)


def test_bfloat16_takes_the_path_of_torch():
    x = torch.randn(2, 2, 9, 4, dtype=torch.bfloat16)
    assert causal_attention(x, x, x, 0.5).dtype is torch.bfloat16


def softmax_weights(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def drawn_mask(shape: tuple[int, ...], p: float) -> Tensor:
    """The mask of all weights, scaled, put together from the blocks as they are drawn."""
    batch, heads, time, _ = shape
    blocks = list(dropout._blocks(batch * heads, time, None))
    bits = dropout.random_bits(blocks[-1].place.stop)
    mask = torch.zeros(batch * heads, time, time, dtype=torch.float64)
    least = round(p * 65536) - 32768
    for block in blocks:
        mask[block.heads, block.rows, block.columns] = (
            bits[block.place].view(block.shape) >= least
        ).double()
    return mask.view(batch, heads, time, time) * 65536 / (65536 - round(p * 65536))


def test_a_share_of_almost_1_leaves_something():
    kept = Dropout(0.9999999)(torch.ones(LEVELS * 8))
    assert torch.isfinite(kept).all() and kept.max() in (0, LEVELS)
