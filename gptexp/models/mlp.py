"""What a GPT has to beat: bigram counts and a perceptron, with the same forward(ids) -> logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptexp.config import MLPConfig


class MLP(nn.Module):
    """A perceptron over the embeddings of the last `context` tokens (Bengio et al. 2003).

    Where a context reaches before the first token, there are zeros. No biases, as in microGPT.
    """

    def __init__(self, cfg: MLPConfig, vocab_size: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.token_table = nn.Embedding(vocab_size, cfg.n_embd)
        self.up = nn.Linear(cfg.context * cfg.n_embd, cfg.n_hidden, bias=False)
        self.head = nn.Linear(cfg.n_hidden, vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        context, time = self.cfg.context, ids.shape[1]
        x = self.token_table(ids)  # [batch, time, n_embd]
        x = F.pad(x, (0, 0, context - 1, 0))  # [batch, context - 1 + time, n_embd]
        x = torch.cat([x[:, i : i + time] for i in range(context)], dim=-1)  # oldest first
        return self.head(F.relu(self.up(x)))  # [batch, time, vocab_size]

    def initialise(self, generator: torch.Generator) -> None:
        """Every weight from N(0, init_std)."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.0, self.cfg.init_std, generator=generator)
