"""Causal multi-head self-attention."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gptexp.config import GPTConfig, Position
from gptexp.models.causal import causal_attention, unseen, unseen_documents
from gptexp.models.dropout import Dropout
from gptexp.models.kv_cache import KVCache
from gptexp.models.norm import rms_norm
from gptexp.models.rope import Rope


@dataclass
class Shared:
    """What the layers of one forward pass know of each other."""

    cache: KVCache | None = None  # advanced by the tokens that are read now
    masks: dict[int | None, Tensor] = field(default_factory=dict)  # by window: document_masks


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017), and what was made of it since.

    Keys and values may have fewer heads, each for a group of query heads (Shazeer 2019, MQA;
    Ainslie et al. 2023, GQA). Queries and keys may be normed (Henry et al. 2020) and turned by
    their position (rope.py); a layer may see a window of the last tokens alone (Beltagy et al.
    2020).
    """

    def __init__(self, cfg: GPTConfig, layer: int = 0) -> None:
        super().__init__()
        self.layer = layer
        self.head_width = cfg.head_width
        kv_width = cfg.kv_heads * cfg.head_width
        self.sizes = (cfg.n_embd, kv_width, kv_width)  # rows of qkv for queries, keys and values
        self.window = cfg.window_of(layer)
        self.qk_norm = cfg.qk_norm
        self.weight_dropout = cfg.dropout  # on the attention weights
        self.dropout = Dropout(cfg.dropout)
        turns = cfg.position is Position.rope
        self.rope = Rope(cfg.head_width, cfg.block_size, cfg.rope_base) if turns else None
        self.qkv = nn.Linear(cfg.n_embd, sum(self.sizes), bias=cfg.bias)
        self.proj = nn.Linear(cfg.n_embd, cfg.n_embd, bias=cfg.bias)

    def forward(self, x: Tensor, shared: Shared | None = None) -> Tensor:
        shared = shared or Shared()
        cache = shared.cache
        q, k, v = self.heads(x, start=cache.length - x.shape[1] if cache is not None else 0)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        dropout = self.weight_dropout if self.training else 0.0
        y = causal_attention(q, k, v, dropout, self.window, shared.masks.get(self.window))
        y = y.transpose(1, 2).reshape(x.shape)  # [batch, time, n_embd]
        return self.dropout(self.proj(y))

    def heads(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x [batch, time, n_embd], whose first position is `start`.

        Each [batch, head, time, width]; keys and values may have fewer heads than queries.
        """
        rows = self.sizes[0] + self.sizes[1], self.sizes[2]
        both, v = (  # each [batch, time, head, width]; queries and keys are alike in what follows
            part.unflatten(-1, (-1, self.head_width)) for part in self.qkv(x).split(rows, dim=-1)
        )
        if self.qk_norm:
            both = rms_norm(both).to(v.dtype)
        if self.rope is not None:
            both = self.rope(both, start)
        heads = [size // self.head_width for size in self.sizes[:2]]
        q, k = both.split(heads, dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def attention_weights(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """The weights with which rows attend to columns, [batch, head, time, time].

        Within `documents` [batch, time], where these are told apart. The kernels of the forward
        pass do not give them.
        """
        q, k, _ = self.heads(x)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        out_of_sight = self.unseen(x.shape[1], x.device, documents)
        return scores.masked_fill(out_of_sight, -torch.inf).softmax(dim=-1)

    def unseen(self, time: int, device: torch.device, documents: Tensor | None = None) -> Tensor:
        """Where tokens (rows) do not see others (columns), [time, time].

        Of `documents` [batch, time] that are told apart, [batch, 1, time, time].
        """
        if documents is None:
            return unseen(time, time, self.window, device)
        return unseen_documents(documents, time, self.window)
