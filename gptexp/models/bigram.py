"""Bigram counts: what follows what, counted and not learned."""

from typing import Any

import torch
from torch import Tensor, nn

from gptexp.config import BigramConfig


class Bigram(nn.Module):
    """How often each token followed each other one, smoothed: log-probabilities for logits.

    P(b | a) = (count(a, b) + smoothing) / (count(a) + vocab_size smoothing), the rule of Lidstone;
    of Laplace with a smoothing of 1. Counting is training here: see _SmoothedCounts.
    """

    def __init__(self, cfg: BigramConfig, vocab_size: int) -> None:
        super().__init__()
        self.smoothing = cfg.smoothing
        self.counts = nn.Parameter(torch.zeros(vocab_size, vocab_size))

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = _SmoothedCounts.apply(self.counts, ids, self.smoothing)
        return logits  # [batch, time, vocab_size]

    def initialise(self, generator: torch.Generator) -> None:
        """Nothing is drawn: no pair has been seen."""
        nn.init.zeros_(self.counts)


class _SmoothedCounts(torch.autograd.Function):
    """Log-probabilities from counts, whose gradient is minus what was counted.

    So an update of plain SGD with a learning rate of 1 adds the pairs of its batch to the counts:
    the closed form, one batch at a time. The gradient that comes back tells what the targets were:
    that of a cross-entropy is lowest at the target, though 0 there once its probability rounds to
    1, and it is 0 everywhere only where there is no target.
    """

    @staticmethod
    def forward(ctx: Any, counts: Tensor, ids: Tensor, smoothing: float) -> Tensor:
        ctx.save_for_backward(ids, counts)
        rows = counts[ids] + smoothing  # [batch, time, vocab_size]
        return rows.log() - rows.sum(dim=-1, keepdim=True).log()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        ids, counts = ctx.saved_tensors
        targets = grads[0].argmin(dim=-1)  # [batch, time]
        seen = grads[0].any(dim=-1).to(counts.dtype)
        counted = torch.zeros_like(counts).index_put((ids, targets), seen, accumulate=True)
        return -counted, None, None
