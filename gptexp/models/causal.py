"""Causal attention of queries to keys and values, by the fastest kernel that can."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.models.dropout import attention_with_dropout, makes_own_masks


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, window: int | None = None
) -> Tensor:
    """Each token gathers values up to its own, or of the last `window` tokens alone.

    q and the result are [batch, head, time, width]; k and v [batch, kv_head, past + time, width],
    where kv_head divides head, and the queries are of the last tokens. `dropout` is of the
    attention weights. All go through fused kernels; a window, and queries with a past, by a mask.
    """
    time, total = q.shape[2], k.shape[2]
    grouped = q.shape[1] != k.shape[1]
    if window is not None and window >= total:
        window = None
    if dropout > 0 and makes_own_masks(q):
        if grouped:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        return attention_with_dropout(q, k, v, dropout, window)
    mask, is_causal = None, False
    if time == 1:  # it sees all that there is
        first = 0 if window is None else total - window
        k, v = k[:, :, first:], v[:, :, first:]
    elif window is None and time == total:
        is_causal = True
    else:
        mask = ~hidden(time, total, window, q.device)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=is_causal, enable_gqa=grouped
    )


def hidden(time: int, total: int, window: int | None, device: torch.device) -> Tensor:
    """Where the last `time` of `total` tokens (rows) do not see a token (columns), [time, total].

    That is what follows them, and what lies `window` tokens back or more.
    """
    past = total - time
    unseen = torch.ones(time, total, dtype=torch.bool, device=device).triu(past + 1)
    if window is not None:
        unseen |= torch.ones_like(unseen).tril(past - window)
    return unseen
