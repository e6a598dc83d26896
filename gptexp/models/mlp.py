"""A perceptron over the last few tokens: what a GPT has to beat."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptexp.config import MLPConfig
from gptexp.models.base import Model
from gptexp.text import plural


class MLP(Model):
    """A perceptron over the embeddings of the last `context` tokens (Bengio et al. 2003).

    Where a context reaches before the first token, there are zeros. No biases, as in microGPT.
    """

    cfg: MLPConfig

    def __init__(self, cfg: MLPConfig, vocab_size: int) -> None:
        super().__init__(cfg, vocab_size)
        self.token_table = nn.Embedding(vocab_size, cfg.n_embd)
        self.up = nn.Linear(cfg.context * cfg.n_embd, cfg.n_hidden, bias=False)
        self.activation = nn.ReLU()
        self.head = nn.Linear(cfg.n_hidden, vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        context, time = self.cfg.context, ids.shape[1]
        x = self.token_table(ids)  # [batch, time, n_embd]
        x = F.pad(x, (0, 0, context - 1, 0))  # [batch, context - 1 + time, n_embd]
        x = torch.cat([x[:, i : i + time] for i in range(context)], dim=-1)  # oldest first
        return self.head(self.activation(self.up(x)))  # [batch, time, vocab_size]

    def init_weights(self, generator: torch.Generator) -> None:
        """Every weight from N(0, init_std)."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.0, self.cfg.init_std, generator=generator)

    def component_of(self, name: str) -> str:
        return "mlp" if name.startswith("up.") else super().component_of(name)

    @classmethod
    def count_parameters(cls, cfg: MLPConfig, vocab_size: int) -> dict[str, int]:
        return {
            "token table": vocab_size * cfg.n_embd,
            "mlp": cfg.context * cfg.n_embd * cfg.n_hidden,
            "head": cfg.n_hidden * vocab_size,
        }

    @classmethod
    def flops_per_token(cls, cfg: MLPConfig, vocab_size: int) -> int:
        counts = cls.count_parameters(cfg, vocab_size)
        return 6 * (counts["mlp"] + counts["head"])

    @classmethod
    def saved_activations(cls, cfg: MLPConfig) -> int:
        """Numbers kept for each token: the joined embeddings, and the hidden units twice."""
        return cfg.context * cfg.n_embd + 2 * cfg.n_hidden

    @classmethod
    def describe(cls, cfg: MLPConfig) -> str:
        context = plural(cfg.context, "token")
        return f"sees {context}, {cfg.n_embd} wide, {cfg.n_hidden} hidden units"
