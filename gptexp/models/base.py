"""What every model is, and what it tells of itself from its config alone."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from gptexp.config import ModelConfig


class Model(nn.Module, ABC):
    """Token ids [batch, time] to logits [batch, time, vocab_size], time at most block_size.

    The class methods take the config of the class' own variant.
    """

    def __init__(self, cfg: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.vocab_size = vocab_size

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """The logits of what follows each of `ids`."""

    @abstractmethod
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every parameter from `generator`."""

    def backward(self, loss: Tensor, ids: Tensor, targets: Tensor) -> None:
        """Add to the gradients what a batch teaches: by backpropagation of its `loss`.

        `ids` and `targets` [batch, time] are what the loss was made of.
        """
        loss.backward()

    @classmethod
    @abstractmethod
    def count_parameters(cls, cfg: Any, vocab_size: int) -> dict[str, int]:
        """Parameters by component; a tied head adds none."""

    @classmethod
    @abstractmethod
    def flops_per_token(cls, cfg: Any, vocab_size: int) -> int:
        """Floating-point operations per trained token, forward and backward.

        6 per weight of a matrix product: 2 forward, 4 backward. Table look-ups, norms and biases
        are left out.
        """

    @classmethod
    @abstractmethod
    def saved_activations(cls, cfg: Any) -> int:
        """Numbers that the forward pass keeps for each token, for the backward pass to read."""

    @classmethod
    @abstractmethod
    def describe(cls, cfg: Any) -> str:
        """The architecture in a few words."""
