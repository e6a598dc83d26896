"""The other side of the comparison: a plain eager training loop, as a textbook would write it."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Textbook:
    """Random batches, AdamW with torch's default settings, clipping; nothing is logged or saved."""

    def __init__(
        self, model: nn.Module, tokens: Tensor, batch_size: int, block_size: int, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.tokens = tokens  # on the model's device
        self.batch_size = batch_size
        self.block_size = block_size
        self.dtype = dtype
        self.window = torch.arange(block_size + 1, device=tokens.device)
        self.optimizer = torch.optim.AdamW(model.parameters())

    def run(self, steps: int) -> None:
        device, last = self.tokens.device, len(self.tokens) - self.block_size
        torch.use_deterministic_algorithms(False)  # as torch is, unless it is told otherwise
        self.model.train()
        for _ in range(steps):
            starts = torch.randint(last, (self.batch_size, 1), device=device)
            rows = self.tokens[starts + self.window]
            x, y = rows[:, :-1], rows[:, 1:]
            self.optimizer.zero_grad()
            with self.autocast():
                logits = self.model(x)
                loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()

    def autocast(self) -> AbstractContextManager[None]:
        """Nothing in float32, which is what a textbook writes."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.tokens.device.type, self.dtype)


class Null(nn.Module):
    """One parameter and an almost free forward pass: what is left is the loop around it."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, ids: Tensor) -> Tensor:
        return self.bias.expand(*ids.shape, len(self.bias))

    def components(self) -> dict[str, list[nn.Parameter]]:
        """As every model of the package tells its parts."""
        return {"bias": [self.bias]}

    def backward(self, loss: Tensor, ids: Tensor, targets: Tensor) -> None:
        """As every model of the package takes its gradients."""
        loss.backward()
