"""The optim and schedule sections: every key with its type and meaning, beside its rules."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from gptexp.config.ranges import above_zero, not_negative, positive, share
from gptexp.errors import Problem

log = logging.getLogger(__name__)


class DecaySchedule(Enum):
    constant = "constant"
    follow_lr = "follow_lr"
    independent = "independent"


class Scaling(Enum):
    none = "none"
    mup = "mup"


class Coefficients(Enum):
    newton_schulz = "newton_schulz"
    polar_express = "polar_express"


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

    cautious_decay: bool = False  # decay a weight only where the update moves it towards 0 too
    decay_schedule: DecaySchedule = DecaySchedule.constant  # of weight_decay, with the lr or not
    decay_timescale: float | None = None  # weight_decay by its time scale, in epochs, or null
    scaling: Scaling = Scaling.none  # of learning rates and initial weights over the width
    base_width: int = 128  # the n_embd that optim.lr and model.init_std are for, under mup

    def problems(self) -> Iterator[Problem]:
        yield from _AdamConfig.problems(self)
        if self.decay_timescale is not None:
            yield from above_zero("optim.decay_timescale", self.decay_timescale, "10")
        yield from positive("optim.base_width", self.base_width)


@dataclass(kw_only=True, slots=True)
class MuonConfig(AdamWConfig):
    """Hidden matrices by orthogonalised momentum (Jordan et al. 2024), the rest by AdamW."""

    adam_lr: float | None  # peak learning rate of what AdamW takes, or null for optim.lr
    momentum: float  # share of the mean of gradients that each step keeps
    nesterov: bool  # orthogonalise the mean with the newest gradient counted once more
    coefficients: Coefficients  # of the polynomials that orthogonalise
    ns_steps: int  # polynomials in a row
    normuon: bool  # rows of each update to one size, by their mean square over time (beta2)

    def problems(self) -> Iterator[Problem]:
        yield from AdamWConfig.problems(self)
        if self.adam_lr is not None:
            yield from above_zero("optim.adam_lr", self.adam_lr, "1e-3")
        yield from share("optim.momentum", self.momentum, "0.95")
        yield from positive("optim.ns_steps", self.ns_steps)


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
    "muon": MuonConfig,
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
