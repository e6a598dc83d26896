"""Bigram counts: what follows what, counted and not learned."""

import torch
from torch import Tensor, nn

from gptexp.config import BigramConfig
from gptexp.models.base import Model


class Bigram(Model):
    """A table of how often each token followed each other one, as smoothed log-probabilities.

    P(b | a) = (count(a, b) + smoothing) / (count(a) + vocab_size smoothing), the rule of Lidstone;
    of Laplace with a smoothing of 1.
    """

    cfg: BigramConfig

    def __init__(self, cfg: BigramConfig, vocab_size: int) -> None:
        super().__init__(cfg, vocab_size)
        self.counts = nn.Parameter(torch.zeros(vocab_size, vocab_size))

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.counts[ids] + self.cfg.smoothing  # [batch, time, vocab_size]
        return rows.log() - rows.sum(dim=-1, keepdim=True).log()

    def init_weights(self, generator: torch.Generator) -> None:
        """Nothing is drawn: no pair has been seen."""
        nn.init.zeros_(self.counts)

    @torch.no_grad()
    def backward(self, loss: Tensor, ids: Tensor, targets: Tensor) -> None:
        """Take the pairs of a batch from the gradient, so that a step of length 1 adds them.

        That is the closed form of the fit, one batch at a time; the slope of the loss has no part
        in it. A target below 0 is none.
        """
        if self.counts.grad is None:
            self.counts.grad = torch.zeros_like(self.counts)
        seen = (targets >= 0).to(self.counts.dtype)
        pairs = (ids, targets.clamp(min=0))
        self.counts.grad.index_put_(pairs, -seen, accumulate=True)

    @classmethod
    def count_parameters(cls, cfg: BigramConfig, vocab_size: int) -> dict[str, int]:
        return {"counts": vocab_size**2}

    @classmethod
    def flops_per_token(cls, cfg: BigramConfig, vocab_size: int) -> int:
        """Counts are looked up and added to: vocab_size operations each way."""
        return 2 * vocab_size

    @classmethod
    def saved_activations(cls, cfg: BigramConfig) -> int:
        """Nothing is kept: no gradient is propagated."""
        return 0

    @classmethod
    def describe(cls, cfg: BigramConfig) -> str:
        return f"a table of counts, smoothed by {cfg.smoothing:g}"
