"""Averages of the weights, kept beside those that are trained, and evaluated as they are."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from gptexp.config import OptimConfig


class Average:
    """The mean of a model's weights after each update since some step, in their dtype.

    Those of k updates ago count decay^k, as much as each other ones where it is 1. So an
    exponential average needs no start from the initial weights, which it would long remember, and
    an even one is the same with another number. Its weights are a function of the step and those
    that it has seen.
    """

    def __init__(self, model: nn.Module, decay: float, since: int) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.since = since  # updates before the first one that counts
        self.best_loss, self.best_step = math.inf, -1  # of validation
        # Walked through once: in a small model that takes longer than the sum.
        self._weights: list[Tensor] = list(self.model.parameters())
        self._live: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights of the model after update number `step`, if they count."""
        if (count := step - self.since) < 1:
            return
        share = 1 / count if self.decay == 1 else (1 - self.decay) / (1 - self.decay**count)
        torch._foreach_lerp_(self._weights, self._live, share)
        for own, live in self._buffers:
            own.copy_(live)

    def judge(self, loss: float, step: int) -> None:
        """Take in a validation loss, in nats per token."""
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, step

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs; the weights alone are what a model of the run takes."""
        return {
            "since": self.since,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "model": self.model.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any] | None, step: int) -> None:
        """The inverse of state_dict; a checkpoint of `step` that has none begins it there."""
        if state is None:
            self.since = max(self.since, step)
            return
        self.since = int(state["since"])
        self.best_loss, self.best_step = float(state["best_loss"]), int(state["best_step"])
        self.model.load_state_dict(state["model"])


class Averages:
    """All averages that a run keeps, by their kind; most runs keep none."""

    def __init__(self, by_kind: Mapping[str, Average] | None = None) -> None:
        self.by_kind = dict(by_kind or {})

    def __len__(self) -> int:
        return len(self.by_kind)

    def update(self, step: int) -> None:
        """Take in the weights after update number `step`."""
        for average in self.by_kind.values():
            average.update(step)

    def judge(self, step: int, loss_of: Callable[[nn.Module], float]) -> dict[str, float]:
        """The validation loss of each one that has begun, as `loss_of` its model, by its curve."""
        losses = {}
        for kind, average in self.begun(step).items():
            losses[f"val/{kind}_loss"] = loss = loss_of(average.model)
            average.judge(loss, step)
        return losses

    def begun(self, step: int) -> dict[str, Average]:
        """Those that hold the weights of an update."""
        return {kind: average for kind, average in self.by_kind.items() if step > average.since}

    def state_dict(self, step: int) -> dict[str, Any]:
        """All that a resume needs: of each one that has begun."""
        return {kind: average.state_dict() for kind, average in self.begun(step).items()}

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        """The inverse of state_dict; those that a checkpoint of `step` lacks begin there."""
        for kind, average in self.by_kind.items():
            average.load_state_dict(state.get(kind), step)


def build_averages(cfg: OptimConfig, model: nn.Module, max_steps: int) -> Averages:
    """The averages that the config asks for, of a run of `max_steps`."""
    since = {"ema": 0, "mean": max_steps - cfg.averaged_steps(max_steps)}
    return Averages({k: Average(model, decay, since[k]) for k, decay in cfg.averages.items()})
