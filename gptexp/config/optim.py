"""The optim and schedule sections: every key with its type and meaning, beside its rules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gptexp.config.ranges import not_negative
from gptexp.config.trainer import TrainerConfig


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    """Base of the optimizer variants."""

    name: str  # which variant
    lr: float  # peak learning rate
    weight_decay: float  # applied to matrices and tables, not to norms and biases


@dataclass(kw_only=True, slots=True)
class AdamWConfig(OptimConfig):
    """Adam with decoupled weight decay."""

    beta1: float  # decay of the mean of gradients
    beta2: float  # decay of the mean of squared gradients
    eps: float  # added to the denominator


@dataclass(kw_only=True, slots=True)
class AdamConfig(OptimConfig):
    """Adam; weight_decay is an L2 term in the gradient."""

    beta1: float  # decay of the mean of gradients
    beta2: float  # decay of the mean of squared gradients
    eps: float  # added to the denominator


@dataclass(kw_only=True, slots=True)
class SGDConfig(OptimConfig):
    """Stochastic gradient descent with heavy-ball momentum."""

    momentum: float  # share of the last update carried over; 0 is plain SGD


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """Base of the schedules: a linear warm-up, then the variant's own curve."""

    name: str  # which variant
    warmup_steps: int  # updates until the learning rate reaches its peak


@dataclass(kw_only=True, slots=True)
class CosineConfig(ScheduleConfig):
    """Half a cosine from the peak to final_fraction of it at max_steps."""

    final_fraction: float  # learning rate at the end, as a share of the peak


@dataclass(kw_only=True, slots=True)
class LinearConfig(ScheduleConfig):
    """A straight line from the peak to final_fraction of it at max_steps."""

    final_fraction: float  # learning rate at the end, as a share of the peak


@dataclass(kw_only=True, slots=True)
class ConstantConfig(ScheduleConfig):
    """The peak, for ever."""


def _optim(optim: OptimConfig) -> Iterator[str]:
    if not (math.isfinite(optim.lr) and optim.lr > 0):
        yield f"optim.lr: {optim.lr} is not a finite number above 0. Fix: optim.lr=1e-3"
    yield from not_negative("optim.weight_decay", optim.weight_decay)
    match optim:
        case AdamWConfig() | AdamConfig():
            for key in ("beta1", "beta2"):
                beta = getattr(optim, key)
                if not 0 <= beta < 1:
                    yield f"optim.{key}: {beta} is not in [0, 1). Fix: optim.{key}=0.9"
            if not (math.isfinite(optim.eps) and optim.eps > 0):
                yield f"optim.eps: {optim.eps} is not above 0. Fix: optim.eps=1e-8"
        case SGDConfig():
            if not 0 <= optim.momentum < 1:
                yield f"optim.momentum: {optim.momentum} is not in [0, 1). Fix: optim.momentum=0.9"


def _schedule(schedule: ScheduleConfig, trainer: TrainerConfig) -> Iterator[str]:
    yield from not_negative("schedule.warmup_steps", schedule.warmup_steps)
    if not trainer.budgets:  # else the steps are known once the corpus is: preflight asks again
        yield from long_warmup(
            schedule, trainer.max_steps, f"trainer.max_steps={trainer.max_steps}"
        )
    if isinstance(schedule, CosineConfig | LinearConfig) and not 0 <= schedule.final_fraction <= 1:
        yield (
            f"schedule.final_fraction: {schedule.final_fraction} is not in [0, 1], so the last "
            "learning rate would be negative or above the peak. Fix: schedule.final_fraction=0.1"
        )


def long_warmup(schedule: ScheduleConfig, steps: int, run: str) -> Iterator[str]:
    """A warm-up longer than the run's `steps`, which `run` puts in words."""
    if schedule.warmup_steps > steps:
        yield (
            f"schedule.warmup_steps: {schedule.warmup_steps} is longer than the run, {run}. "
            f"Fix: schedule.warmup_steps={max(steps, 0) // 10}"
        )
