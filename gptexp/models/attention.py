"""Causal multi-head self-attention."""

import math

import torch
from torch import Tensor, nn

from gptexp.config import GPTConfig
from gptexp.models.dropout import Dropout, causal_attention


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017)."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.n_head = cfg.n_head
        self.weight_dropout = cfg.dropout  # on the attention weights
        self.dropout = Dropout(cfg.dropout)
        self.qkv = nn.Linear(cfg.n_embd, 3 * cfg.n_embd, bias=cfg.bias)
        self.proj = nn.Linear(cfg.n_embd, cfg.n_embd, bias=cfg.bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        dropout = self.weight_dropout if self.training else 0.0
        y = causal_attention(q, k, v, dropout)
        y = y.transpose(1, 2).reshape(x.shape)  # [batch, time, n_embd]
        return self.dropout(self.proj(y))

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of x [batch, time, n_embd]: each [batch, head, time, .]."""
        batch, time, width = x.shape
        split = (batch, time, self.n_head, width // self.n_head)
        q, k, v = self.qkv(x).split(width, dim=-1)  # each [batch, time, n_embd]
        return tuple(part.view(split).transpose(1, 2) for part in (q, k, v))

    def attention_weights(self, x: Tensor) -> Tensor:
        """The weights with which rows attend to columns, [batch, head, time, time].

        The kernels of the forward pass do not give them.
        """
        q, k, _ = self.heads(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones_like(scores, dtype=torch.bool).triu(1)
        return scores.masked_fill(future, -torch.inf).softmax(dim=-1)
