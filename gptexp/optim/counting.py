"""The update of counts: each pair that a batch holds adds 1."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Counting(torch.optim.Optimizer):
    """Takes the gradient from the parameters as it is: no learning rate, no moments, no decay."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 1.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take each gradient once, whatever lr the groups have: a count knows no other than 1."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= parameter.grad
