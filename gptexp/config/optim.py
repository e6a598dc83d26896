"""The optim and schedule sections: every key with its type and meaning, beside its rules."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from gptexp.config.ranges import above_zero, not_negative, share
from gptexp.errors import Problem

log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    """Base of the optimizer variants."""

    name: str  # which variant
    lr: float  # peak learning rate
    weight_decay: float  # applied to matrices and tables, not to norms and biases

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range; a variant adds its own keys."""
        yield from above_zero("optim.lr", self.lr, "1e-3")
        yield from not_negative("optim.weight_decay", self.weight_decay)


@dataclass(kw_only=True, slots=True)
class _AdamConfig(OptimConfig):
    """The keys that Adam and AdamW share."""

    beta1: float  # decay of the mean of gradients
    beta2: float  # decay of the mean of squared gradients
    eps: float  # added to the denominator

    def problems(self) -> Iterator[Problem]:
        yield from OptimConfig.problems(self)
        yield from share("optim.beta1", self.beta1, "0.9")
        yield from share("optim.beta2", self.beta2, "0.9")
        yield from above_zero("optim.eps", self.eps, "1e-8")


@dataclass(kw_only=True, slots=True)
class AdamWConfig(_AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""


@dataclass(kw_only=True, slots=True)
class AdamConfig(_AdamConfig):
    """Adam (Kingma and Ba 2015); weight_decay is an L2 term in the gradient."""


@dataclass(kw_only=True, slots=True)
class SGDConfig(OptimConfig):
    """Stochastic gradient descent with heavy-ball momentum."""

    momentum: float  # share of the last update carried over; 0 is plain SGD

    def problems(self) -> Iterator[Problem]:
        yield from OptimConfig.problems(self)
        yield from share("optim.momentum", self.momentum, "0.9")


@dataclass(kw_only=True, slots=True)
class CountConfig(OptimConfig):
    """No descent: each pair of tokens adds 1 to its count, whatever the schedule says."""

    def problems(self) -> Iterator[Problem]:
        for key, value, only in (("lr", self.lr, 1), ("weight_decay", self.weight_decay, 0)):
            if value != only:
                what = f"{value}, and a count knows no other than {only}"
                yield Problem(f"optim.{key}", what, f"optim.{key}={only}")


OPTIMIZERS: dict[str, type[OptimConfig]] = {
    "adamw": AdamWConfig,
    "adam": AdamConfig,
    "sgd": SGDConfig,
    "count": CountConfig,
}


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """Base of the schedules: a linear warm-up, then the variant's own curve."""

    name: str  # which variant
    warmup_steps: int  # updates until the learning rate reaches its peak

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range; a variant adds its own keys."""
        yield from not_negative("schedule.warmup_steps", self.warmup_steps)


@dataclass(kw_only=True, slots=True)
class _FallingConfig(ScheduleConfig):
    """The keys that falling schedules share."""

    final_fraction: float  # learning rate at the end, as a share of the peak

    def problems(self) -> Iterator[Problem]:
        yield from ScheduleConfig.problems(self)
        if not 0 <= self.final_fraction <= 1:
            yield Problem(
                "schedule.final_fraction",
                f"{self.final_fraction} is not in [0, 1], so the last learning rate would be "
                "negative or above the peak",
                "schedule.final_fraction=0.1",
            )


@dataclass(kw_only=True, slots=True)
class CosineConfig(_FallingConfig):
    """Half a cosine from the peak to final_fraction of it at max_steps."""


@dataclass(kw_only=True, slots=True)
class LinearConfig(_FallingConfig):
    """A straight line from the peak to final_fraction of it at max_steps."""


@dataclass(kw_only=True, slots=True)
class ConstantConfig(ScheduleConfig):
    """The peak, for ever."""


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "cosine": CosineConfig,
    "linear": LinearConfig,
    "constant": ConstantConfig,
}


@cache  # of a sweep's points the first one says it
def note_long_warmup(warmup_steps: int, steps: int, run: str) -> None:
    """Say that of a warm-up longer than the run, in words `run`, no more than its `steps` count."""
    what = f"{warmup_steps} is longer than the run, {run}; it warms up for all {steps} steps"
    log.warning("schedule.warmup_steps: %s", what)
