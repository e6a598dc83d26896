"""One update of the weights: forward, backward, finite guard, the optimizer's step."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from gptexp.data.corpus import Batch
from gptexp.errors import DivergedError, Problem
from gptexp.inference.loss import token_losses
from gptexp.models.base import Model
from gptexp.optim import gradients
from gptexp.optim.build import is_own
from gptexp.optim.groups import set_rates
from gptexp.runtime.device import Runtime
from gptexp.runtime.distributed import ALONE, Ranks
from gptexp.training.compiling import compiled
from gptexp.training.loss_scale import LEAST, LossScale
from gptexp.training.passes import passes

Watch = AbstractContextManager[None]  # around an update


class NonFinite(NamedTuple):
    """The first update whose loss or gradient norm is not finite."""

    step: int  # updates done, with this one
    loss: float
    grad_norm: float


class UpdateStep:
    """Executes updates; what of them is not finite, and all after it, never reaches the weights.

    CUDA runs ahead of its host: fused optimizers skip their update where `found_inf` is 1, which is
    set on the device, and the host reads it when it waits anyway. A CPU does not run ahead, the
    kernels of MPS pass `found_inf` over, and so does an optimizer that is not fused or is of own
    code: there the host looks at each update before it is made.

    In float16 an update whose gradients alone are not finite is skipped, as often as the loss scale
    can still be lowered.
    """

    def __init__(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        runtime: Runtime,
        grad_clip: float,
        compile: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.optimizer, self.runtime, self.ranks = model, optimizer, runtime, ranks
        self.passes = passes(model, compiled(model) if compile else model, ranks)
        self.grad_clip = grad_clip
        self.parameters = list(model.parameters())
        # A subclass of a fused one has its attribute, and a step of its own.
        fused = getattr(optimizer, "_step_supports_amp_scaling", False) and not is_own(optimizer)
        self.runs_ahead = fused and runtime.device.type == "cuda" and not ranks.shards
        self.grad_norm = torch.zeros((), device=runtime.device)  # of the last update, unclipped
        self.found_inf = torch.zeros((), device=runtime.device)  # 1 from the first bad update on
        self.latest = torch.zeros(3, device=runtime.device)  # a NonFinite, once found_inf is 1
        self.scale = LossScale(runtime)
        self.skip = torch.zeros((), device=runtime.device)  # 1 if the scale skips the last update

    def __call__(
        self,
        batch: Batch,
        batch_size: int,
        step: int,
        count: int,
        lr: float,
        watch: Watch | None = None,
    ) -> Tensor:
        """Make update number `step`; returns its loss, a mean over `count` targets in nats.

        The rows of the batch pass forward and backward `batch_size` at a time.
        """
        loss = self.accumulate(batch, batch_size, count)
        self.apply(step, loss, lr, watch)
        return loss

    def accumulate(self, batch: Batch, batch_size: int, count: int) -> Tensor:
        """Add the gradients of a batch; returns its loss, without waiting for the device.

        Of several ranks, each has a share of the batch; gradients and loss are those of all of it.
        """
        loss = torch.zeros((), device=self.runtime.device, dtype=self.runtime.weights)
        parts = list(zip(*(part.split(batch_size) for part in batch), strict=True))
        for number, (inputs, targets) in enumerate(parts, start=1):
            with self.passes.within(last=number == len(parts)):
                with self.runtime.autocast():
                    logits = self.passes.forward(inputs)
                part = token_losses(logits, targets).sum() / count
                self.model.backward(self.scale.scaled(part), inputs, targets)
            loss += part.detach()
        return self.passes.done(loss)

    def apply(self, step: int, loss: Tensor, lr: float, watch: Watch | None = None) -> None:
        """Clip the gradients and have the optimizer take them, unless something is not finite.

        A `watch` is entered with the gradients as they are, and left with the new weights.
        """
        self.scale.unscale(self.optimizer)
        with watch or nullcontext():
            self.grad_norm = gradients.clip(self.parameters, self.grad_clip)
            set_rates(self.optimizer.param_groups, lr)
            self._guard(step, loss)
            if self.runs_ahead or not (self.found_inf.item() or self.skip.item()):
                self.optimizer.step()
        self.scale.update(self.skip)
        self.clear()

    def clear(self) -> None:
        """Let go of the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def first_non_finite(self) -> NonFinite | None:
        """The update that spoiled all after it, if there was one; waits for the device."""
        if not self.found_inf.item():
            return None
        step, loss, grad_norm = self.latest.tolist()
        return NonFinite(int(step), loss, grad_norm)

    def diverged(self, bad: NonFinite, remedy: str) -> DivergedError:
        """The end of a run at that update, with what may mend it."""
        at, fix = "", remedy
        if self.scale.on:
            at = f" at a loss scale of {LEAST:g}" if math.isfinite(bad.loss) else ""
            fix += ", or trainer.dtype=float32"
        what = (
            f"loss {bad.loss:g} and gradient norm {bad.grad_norm:g} are not both finite{at}; the "
            f"weights stay those of step {bad.step - 1}"
        )
        return DivergedError(Problem(f"step {bad.step}", what, fix))

    def _guard(self, step: int, loss: Tensor) -> None:
        """Note the first update that is not finite, on the device where it runs ahead."""
        now = torch.stack([torch.full_like(loss, step), loss, self.grad_norm])
        self.skip = self.scale.skips(loss, self.grad_norm)
        if self.runs_ahead:
            bad = (~torch.isfinite(now).all()).float() - self.skip  # what is skipped is not finite
            self.latest = torch.where(self.found_inf == 0, now, self.latest)
            self.found_inf = torch.maximum(self.found_inf, bad)
            left_out = torch.maximum(self.found_inf, self.skip)
            self.optimizer.found_inf = left_out  # type: ignore[attr-defined]
        elif not all(map(math.isfinite, now.tolist())) and not self.skip.item():
            self.latest, self.found_inf = now, torch.ones_like(self.found_inf)
