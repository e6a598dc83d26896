"""Dropout (Srivastava et al. 2014), of activations and of attention weights.

On a CPU torch draws the masks one number at a time and gives up its fused attention for them; there
they are made of random bits here, and attention goes through the weights block by block.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gptexp.runtime.random import random_bits

LEVELS = 1 << 16  # of the random number that decides over one value
ROWS = 64  # of the weights of a head, in one block
AT_ONCE = 1 << 18  # weights in one block, about: a few arrays of so many lie in a core's cache


class Dropout(nn.Dropout):
    """Zero each value with probability p while training, and scale the others by 1 / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu" or _compiles():
            return super().forward(x)
        dropped = _dropped(self.p)
        mask = _kept(random_bits(x.numel()).view(x.shape), dropped, torch.empty_like(x))
        return x * mask.mul_(_scale(dropped))


def makes_own_masks(x: Tensor) -> bool:
    """Whether masks for x are made here, of random bits, and not by torch."""
    return x.device.type == "cpu" and x.dtype.itemsize >= 4 and not _compiles()


def attention_with_dropout(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout: float,
    window: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Causal attention (Vaswani et al. 2017) with dropout of its weights, on a CPU.

    q, k, v and the result are [batch, head, time, width]; a token sees the last `window` tokens,
    its own among them, or all up to its own. A `mask` [batch, 1, time, time], which hides what
    follows too, is added to the scores.
    """
    result: Tensor = _Attention.apply(q, k, v, dropout, window, mask)
    return result


def saved_weights(heads: int, time: int, window: int | None = None) -> int:
    """Numbers of 4 bytes for each token: what attention with dropout on a CPU keeps of its weights.

    Each weight from the first to the last column of its block of ROWS, and half a number for its
    random bits.
    """
    kept = sum(math.prod(block.shape) for block in _blocks(heads, time, window))
    return 3 * kept // (2 * time)


class _Block(NamedTuple):
    """Some rows of the attention weights of some heads, and the columns that are not all 0."""

    heads: slice
    rows: slice
    columns: slice
    shape: tuple[int, int, int]
    place: slice  # of its values among those of all blocks


class _Attention(torch.autograd.Function):
    """softmax(q k' / sqrt(width)) with dropout, times v, and its gradients.

    With P the weights, M the mask and D = P M what is left of them, y = D v; so g = dL/dy gives
    dL/dv = D' g and dL/ds = P (M (g v') - delta), where delta = sum_j D_ij (g v')_ij = g_i y_i (as
    in Dao et al. 2022, FlashAttention, section 3.1 and appendix B.2).
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        dropout: float,
        window: int | None,
        mask: Tensor | None,
    ) -> Tensor:
        shape = q.shape
        q, k, v = (x.flatten(0, 1).contiguous() for x in (q, k, v))  # [batch * head, time, width]
        q = q * q.shape[-1] ** -0.5
        blocks = list(_blocks(q.shape[0], q.shape[1], window))
        dropped, scale = _dropped(dropout), _scale(_dropped(dropout))
        size, most = blocks[-1].place.stop, max(math.prod(block.shape) for block in blocks)
        bits, weights = random_bits(size), q.new_empty(size)
        y, work, scaled = torch.empty_like(q), q.new_empty(most), v * scale
        future = q.new_full((ROWS, ROWS), -math.inf).triu(1)
        for block in blocks:
            heads, rows, columns, sizes, place = block
            p = weights[place].view(sizes)
            scores = work[: p.numel()].view(sizes)
            torch.bmm(q[heads, rows], k[heads, columns].mT, out=scores)
            if mask is not None:
                of_heads = torch.arange(heads.start, heads.stop) // shape[1]  # the batch of each
                scores.add_(mask[of_heads, 0, rows, columns])
            else:
                _hide(scores, block, window, future)
            torch.softmax(scores, dim=-1, out=p)
            left = _kept(bits[place].view(sizes), dropped, scores).mul_(p)
            y[heads, rows] = torch.bmm(left, scaled[heads, columns])
        ctx.save_for_backward(q, k, v, y, weights, bits)
        ctx.blocks, ctx.dropped = blocks, dropped
        return y.view(shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, y, weights, bits = ctx.saved_tensors
        g = grad.flatten(0, 1).contiguous()
        delta = (g * y).sum(-1, keepdim=True)
        g = g * _scale(ctx.dropped)
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        most = max(math.prod(block.shape) for block in ctx.blocks)
        masks, lefts, inner = (q.new_empty(most) for _ in range(3))
        for heads, rows, columns, sizes, place in ctx.blocks:
            p = weights[place].view(sizes)
            mask = _kept(bits[place].view(sizes), ctx.dropped, masks[: p.numel()].view(sizes))
            left = torch.mul(p, mask, out=lefts[: p.numel()].view(sizes))
            dv[heads, columns] += left.mT @ g[heads, rows]
            ds = inner[: p.numel()].view(sizes)
            torch.bmm(g[heads, rows], v[heads, columns].mT, out=ds)
            ds.mul_(mask).sub_(delta[heads, rows]).mul_(p)
            dq[heads, rows] = ds @ k[heads, columns]
            dk[heads, columns] += ds.mT @ q[heads, rows]
        dq *= q.shape[-1] ** -0.5
        dq, dk, dv = (x.view(grad.shape) for x in (dq, dk, dv))
        return dq, dk, dv, None, None, None


def _blocks(heads: int, time: int, window: int | None) -> Iterator[_Block]:
    """All weights of what tokens see, and few others, in pieces that fit a cache."""
    place = 0
    for start in range(0, time, ROWS):
        stop = min(start + ROWS, time)
        first = 0 if window is None else max(0, start - window + 1)
        at_once = max(1, AT_ONCE // (ROWS * time))
        for head in range(0, heads, at_once):
            count = min(at_once, heads - head)
            shape = (count, stop - start, stop - first)
            size = math.prod(shape)
            yield _Block(
                slice(head, head + count),
                slice(start, stop),
                slice(first, stop),
                shape,
                slice(place, place + size),
            )
            place += size


def _hide(scores: Tensor, block: _Block, window: int | None, future: Tensor) -> None:
    """Make scores of a block -inf where rows do not see columns: behind them, or past a window."""
    _, rows, columns, sizes, _ = block
    length = sizes[1]
    scores[:, :, -length:].add_(future[:length, :length])
    if window is not None and rows.stop - window > columns.start:
        past = scores.new_full(sizes[1:], -math.inf).tril(rows.start - window - columns.start)
        scores.add_(past)


def _dropped(p: float) -> int:
    """How many of LEVELS fall to dropout, so that p is met to 1 in 131,072; never all."""
    return min(round(p * LEVELS), LEVELS - 1)


def _scale(dropped: int) -> float:
    """What the values that are left are scaled by: their mean stays as it was."""
    return LEVELS / (LEVELS - dropped)


def _kept(bits: Tensor, dropped: int, out: Tensor) -> Tensor:
    """1 where a value is kept, and 0 where it is dropped, written over `out`."""
    return torch.ge(bits, dropped - LEVELS // 2, out=out)


def _compiles() -> bool:
    """Whether torch.compile is reading along, which cannot follow a mask from elsewhere."""
    return torch.compiler.is_compiling()
