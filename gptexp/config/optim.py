"""The optim and schedule sections: every key with its type and meaning, beside its rules."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from gptexp.config.ranges import above_zero, not_negative, positive, share
from gptexp.errors import Problem

log = logging.getLogger(__name__)

AVERAGES = ("ema", "mean")  # of the weights, as files and options call them


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
    ema: float | None = None  # decay of a moving average of the weights, as 0.999, or null
    average_last: float | None = None  # share of max_steps, at the end, averaged evenly, or null

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range; a variant adds its own keys."""
        yield from above_zero("optim.lr", self.lr, "1e-3")
        yield from not_negative("optim.weight_decay", self.weight_decay)
        if self.ema is not None:
            yield from share("optim.ema", self.ema, "0.999")
        if self.average_last is not None and not 0 < self.average_last <= 1:
            what = f"{self.average_last} is not in (0, 1]"
            yield Problem("optim.average_last", what, "optim.average_last=0.2, or null for none")

    @property
    def averages(self) -> dict[str, float]:
        """The averages of the weights to keep, each with the decay of a weight's share a step."""
        decays = {"ema": self.ema, "mean": None if self.average_last is None else 1.0}
        return {kind: decay for kind, decay in decays.items() if decay is not None}

    @property
    def moments(self) -> int:
        """How many numbers an update remembers of each weight, at least."""
        return 2

    def averaged_steps(self, max_steps: int) -> int:
        """How many updates, at the end of a run of `max_steps`, are in its even average."""
        if self.average_last is None:
            return 0
        return max(1, round(self.average_last * max_steps))


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

    @property
    def moments(self) -> int:
        return 1  # of hidden matrices; what AdamW takes has two

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

    @property
    def moments(self) -> int:
        return 1 if self.momentum else 0

    def problems(self) -> Iterator[Problem]:
        yield from OptimConfig.problems(self)
        yield from share("optim.momentum", self.momentum, "0.9")


@dataclass(kw_only=True, slots=True)
class CountConfig(OptimConfig):
    """No descent: each pair of tokens adds 1 to its count, whatever the schedule says."""

    @property
    def moments(self) -> int:
        return 0

    def problems(self) -> Iterator[Problem]:
        for key, only in (("lr", 1), ("weight_decay", 0), ("ema", None), ("average_last", None)):
            if (value := getattr(self, key)) != only:
                word = "null" if only is None else only
                what = f"{value}, and a count knows no other than {word}"
                yield Problem(f"optim.{key}", what, f"optim.{key}={word}")


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

    @property
    def trunk_share(self) -> float:
        """How much of a run, from its first update on, is the beginning of any longer one."""
        return 0.0

    def trunk_steps(self, max_steps: int) -> int:
        """How many updates that is, of a run of `max_steps`."""
        return round(self.trunk_share * max_steps)

    def trunk(self) -> "ScheduleConfig":
        """A schedule that has these updates for ever; of most it is the schedule itself."""
        return self


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

    @property
    def trunk_share(self) -> float:
        return 1.0


class Shape(Enum):
    linear = "linear"
    sqrt = "sqrt"
    cosine = "cosine"


@dataclass(kw_only=True, slots=True)
class WSDConfig(_FallingConfig):
    """Warm-up, stable, decay: the peak until the last share of the run (Hu et al. 2024)."""

    decay_fraction: float  # share of max_steps, at the end, over which the learning rate falls
    shape: Shape  # of the fall: linear, sqrt (1 - sqrt, Hägele et al. 2024) or cosine

    def problems(self) -> Iterator[Problem]:
        yield from _FallingConfig.problems(self)
        if not 0 < self.decay_fraction <= 1:
            what = f"{self.decay_fraction} is not in (0, 1]"
            fix = "schedule.decay_fraction=0.2, or schedule=constant for no decay"
            yield Problem("schedule.decay_fraction", what, fix)

    @property
    def trunk_share(self) -> float:
        return 1.0 - self.decay_fraction

    def trunk_steps(self, max_steps: int) -> int:
        """The updates before the decay, which begins no earlier than the warm-up ends."""
        return max(min(self.warmup_steps, max_steps), round(self.trunk_share * max_steps))

    def trunk(self) -> ConstantConfig:
        return ConstantConfig(name="constant", warmup_steps=self.warmup_steps)


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "cosine": CosineConfig,
    "linear": LinearConfig,
    "constant": ConstantConfig,
    "wsd": WSDConfig,
}


@cache  # of a sweep's points the first one says it
def note_long_warmup(warmup_steps: int, steps: int, run: str) -> None:
    """Say that of a warm-up longer than the run, in words `run`, no more than its `steps` count."""
    what = f"{warmup_steps} is longer than the run, {run}; it warms up for all {steps} steps"
    log.warning("schedule.warmup_steps: %s", what)
