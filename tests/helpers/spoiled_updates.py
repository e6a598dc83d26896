"""Updates whose loss or gradients are made not finite, or huge; and what a diverged run leaves."""

import math
from collections.abc import Callable

import pytest
import torch
from interruptions import before
from small_runs import status
from torch import Tensor

from gptexp.optim import gradients
from gptexp.runs.checkpoint import Store
from gptexp.runs.state import Outcome
from gptexp.training import step as step_module
from gptexp.training.trainer import Trainer


def loss_at(step: int, value: float, patch: pytest.MonkeyPatch) -> None:
    """Make the training loss not finite, from update number `step` on."""
    updates: list[int] = []
    original = step_module.token_losses

    def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
        losses = original(logits, targets)
        return losses * value if updates and updates[-1] >= step - 1 else losses

    before(Trainer, "train_step", lambda self: updates.append(self.step), patch)
    patch.setattr(step_module, "token_losses", token_losses)


def before_clipping(action: Callable[[Trainer], None], patch: pytest.MonkeyPatch) -> None:
    """Call `action` with the trainer when the update of its step has its gradients."""
    stepping: list[Trainer] = []
    before(Trainer, "train_step", stepping.append, patch)
    before(gradients, "clip", lambda *_: action(stepping[-1]), patch)


def gradient_at(step: int, patch: pytest.MonkeyPatch, value: float = math.inf) -> None:
    """Make one gradient of update number `step` not finite, while its loss is."""

    def spoil(self: Trainer) -> None:
        if self.step == step:
            next(self.parts.model.parameters()).grad.view(-1)[3] = value

    before_clipping(spoil, patch)


def exploding_at(steps: set[int], patch: pytest.MonkeyPatch) -> None:
    """Make the gradients of these updates huge, and finite."""

    def explode(self: Trainer) -> None:
        if self.step in steps:
            for parameter in self.parts.model.parameters():
                parameter.grad *= 1e4

    before_clipping(explode, patch)


def check_diverged(outcome: Outcome, step: int) -> None:
    """The step is named, and what is saved is finite and older than it."""
    assert (outcome.state, outcome.exit_code) == ("diverged", 3)
    assert f"step {step}: loss " in outcome.error
    assert f"the weights stay those of step {step - 1}. Fix: lower optim.lr" in outcome.error
    assert status(outcome.path)["state"] == "diverged"
    assert f"step {step}: loss " in status(outcome.path)["reason"]
    saved = Store(outcome.path / "checkpoints").latest().state
    assert saved["step"] < step
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())
    moments = saved["optimizer"]["state"].values()
    assert all(torch.isfinite(tensor).all() for moment in moments for tensor in moment.values())
