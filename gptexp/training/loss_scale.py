"""The loss scale of float16, in which small gradients would vanish (Micikevicius et al. 2018)."""

from typing import Any

import torch
from torch import Tensor

from gptexp.runtime.device import Runtime

FIRST = 2.0**16  # about the largest number of float16
LEAST = 1.0  # gradients that overflow without a scale are none that another scale would mend
PATIENCE = 2000  # updates without an overflow before the scale is doubled


class LossScale:
    """Multiplies the loss, so that float16 holds its gradients, and divides these again.

    An update whose gradients overflow is skipped and halves the scale, down to LEAST. In every
    other dtype the scale is 1 and skips nothing. All of it stays on the device.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.on = runtime.scales_loss
        self.scaler = torch.amp.GradScaler(
            runtime.device.type, init_scale=FIRST, growth_interval=PATIENCE, enabled=self.on
        )
        self.none = torch.zeros((), device=runtime.device)
        self.one = torch.ones_like(self.none)
        self.skipped = torch.zeros((), device=runtime.device)  # updates so far

    def scaled(self, loss: Tensor) -> Tensor:
        """What to take the gradients of."""
        scaled: Tensor = self.scaler.scale(loss)
        return scaled

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradients those of the loss itself."""
        self.scaler.unscale_(optimizer)

    def skips(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        """1 for an update to skip, whose gradients would not overflow at a lower scale; else 0."""
        if not self.on:
            return self.none
        can_fall = self.scaled(self.one) > LEAST
        return (torch.isfinite(loss) & ~torch.isfinite(grad_norm) & can_fall).float()

    def update(self, skipped: Tensor) -> None:
        """Lower the scale after an update that overflowed, raise it after PATIENCE that did not."""
        if self.on:
            self.skipped += skipped
            self.scaler.update()

    def metrics(self) -> dict[str, float]:
        """What a line of metrics.jsonl tells of it; waits for the device."""
        if not self.on:
            return {}
        scale, skipped = self.scaler.get_scale(), int(self.skipped.item())
        return {"train/loss_scale": scale, "train/skipped": skipped}

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs in float16."""
        now, skipped = self.scaler.state_dict(), int(self.skipped.item())
        return {"scale": now["scale"], "steady": now["_growth_tracker"], "skipped": skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of state_dict; raises ValueError. That of another dtype, {}, is passed over.

        So a branch in float16 of a run in another dtype begins with the first scale.
        """
        if not (self.on and state):
            return
        if not 0 < state["scale"] <= torch.finfo(torch.float32).max:
            raise ValueError(f"a loss scale of {state['scale']}")
        self.skipped.fill_(state["skipped"])
        taken = {"scale": state["scale"], "_growth_tracker": state["steady"]}
        self.scaler.load_state_dict({**self.scaler.state_dict(), **taken})
