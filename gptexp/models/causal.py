"""Causal attention of queries to keys and values, by the fastest kernel that can."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.models.dropout import attention_with_dropout, makes_own_masks

# From so many tokens and windows on, pieces of a context are faster than a mask over all of it: by
# two at 1,024 tokens and windows of 64 to 128, and slower at 256 (benchmarks/NOTES.md).
LONG, WINDOWS = 512, 8


def causal_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout: float = 0.0,
    window: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Each token gathers values up to its own, or of the last `window` tokens alone.

    q and the result are [batch, head, time, width]; k and v [batch, kv_head, past + time, width],
    where kv_head divides head, and the queries are of the last tokens. `dropout` is of the
    attention weights. All go through fused kernels; a window, and queries with a past, by a mask.
    A `mask` [batch, 1, time, past + time] is added to the scores, as `document_masks` makes it: it
    tells the window too.
    """
    time, total = q.shape[2], k.shape[2]
    if window is not None and window >= total:
        window = None
    if dropout > 0 and makes_own_masks(q):
        return attention_with_dropout(q, *_ungrouped(q, k, v), dropout, window, mask)
    if (
        mask is None
        and window is not None
        and time == total
        and time >= max(LONG, WINDOWS * window)
    ):
        return _banded(q, *_ungrouped(q, k, v), dropout, window)
    is_causal = False
    if mask is not None:
        pass
    elif time == 1:  # it sees all that there is
        first = 0 if window is None else total - window
        k, v = k[:, :, first:], v[:, :, first:]
    elif window is None and time == total:
        is_causal = True
    else:
        mask = ~unseen(time, total, window, q.device)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=is_causal,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def unseen(time: int, total: int, window: int | None, device: torch.device) -> Tensor:
    """Where the last `time` of `total` tokens (rows) do not see a token (columns), [time, total].

    That is what follows them, and what lies `window` tokens back or more.
    """
    past = total - time
    outside = torch.ones(time, total, dtype=torch.bool, device=device).triu(past + 1)
    if window is not None:
        outside |= torch.ones_like(outside).tril(past - window)
    return outside


def unseen_documents(documents: Tensor, time: int, window: int | None) -> Tensor:
    """Where the last `time` tokens do not see one of theirs, [batch, 1, time, total].

    As `unseen`, and wherever the numbers of their `documents` [batch, total] differ.
    """
    total = documents.shape[1]
    apart = documents[:, None, total - time :, None] != documents[:, None, None, :]
    return apart.logical_or_(unseen(time, total, window, documents.device))


def document_masks(
    documents: Tensor, time: int, windows: Collection[int | None], dtype: torch.dtype
) -> dict[int | None, Tensor]:
    """For each window what a token adds to scores: 0 where it sees, -inf elsewhere.

    Each [batch, 1, time, total], for the last `time` of the `total` tokens whose `documents` are
    given, [batch, total]. Made once for all layers, in the dtype of their queries: of a mask of
    bits each kernel would make and keep such a one.
    """
    hidden = {window: unseen_documents(documents, time, window) for window in windows}
    return {
        window: torch.zeros_like(outside, dtype=dtype).masked_fill_(outside, -torch.inf)
        for window, outside in hidden.items()
    }


def _ungrouped(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values once for each head of the queries."""
    times = q.shape[1] // k.shape[1]
    if times == 1:
        return k, v
    return k.repeat_interleave(times, dim=1), v.repeat_interleave(times, dim=1)


def _banded(q: Tensor, k: Tensor, v: Tensor, dropout: float, window: int) -> Tensor:
    """Attention within a window in pieces as long as it, each of which sees itself and the last.

    All are [batch, head, time, width]. The cost grows with time * window and not with time^2.
    """
    batch, heads, time, width = q.shape
    pieces = -(-time // window)
    after = pieces * window - time
    q = F.pad(q, (0, 0, 0, after)).reshape(batch * heads, pieces, window, width)
    k, v = (F.pad(x, (0, 0, window, after)) for x in (k, v))  # and before the first piece
    k, v = (x.reshape(batch * heads, pieces + 1, window, width) for x in (k, v))
    k, v = (torch.cat((x[:, :-1], x[:, 1:]), dim=2) for x in (k, v))  # [., pieces, 2 window, width]
    sees = ~unseen(window, 2 * window, window, q.device).repeat(pieces, 1, 1)
    sees[0, :, :window] = False  # there is nothing before
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=sees, dropout_p=dropout)
    return y.reshape(batch, heads, -1, width)[:, :, :time]
