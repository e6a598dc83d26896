"""AdamW whose decay is cautious."""

from typing import Any

import torch

from gptexp.optim.decay import shrink
from gptexp.optim.groups import Group


class CautiousAdamW(torch.optim.AdamW):
    """AdamW that decays a weight only where the update moves it towards 0 too."""

    def __init__(
        self, groups: list[Group], lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas, eps=eps, fused=True)
        self._step_supports_amp_scaling = False  # the decay does not know found_inf

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Decay, then take a step of Adam, whose own decay is off meanwhile."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            self._decay(group)
            group["weight_decay"] = 0.0
        super().step()
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay

    def _decay(self, group: Group) -> None:
        share, (beta1, _) = group["lr"] * group["weight_decay"], group["betas"]
        if share == 0:
            return
        for weight in (p for p in group["params"] if p.grad is not None):
            before: dict[str, Any] = self.state[weight]
            mean = weight.grad  # of the first step it has the sign
            if before:
                mean = torch.lerp(before["exp_avg"], weight.grad, 1 - beta1)
            # Adam divides this by what is above 0, so its sign is that of the update.
            shrink(weight, mean, share, cautious=True)
