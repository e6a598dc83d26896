"""Weight decay: how strong, at which step, and of which weights."""

import dataclasses
from collections.abc import Iterable, Iterator

from torch import Tensor

from gptexp.config import AdamWConfig, DecaySchedule, OptimConfig
from gptexp.errors import Problem
from gptexp.optim.groups import Group

# The power of the learning rate that weight decay goes with; a step takes lr x weight_decay off.
POWERS = {
    DecaySchedule.constant: 0,
    DecaySchedule.follow_lr: 1,
    DecaySchedule.independent: -1,
}


def decayed(cfg: OptimConfig, steps_per_epoch: float) -> OptimConfig:
    """The config with the weight decay that its time scale comes to, where it has one.

    A weight is a mean of its last updates, whose age is 1 / (lr x weight_decay) steps, at the peak
    learning rate (Wang and Aitchison 2024). That age is the time scale.
    """
    if not isinstance(cfg, AdamWConfig) or cfg.decay_timescale is None:
        return cfg
    weight_decay = 1 / (cfg.lr * cfg.decay_timescale * steps_per_epoch)
    return dataclasses.replace(cfg, weight_decay=weight_decay)


def decay_problems(cfg: OptimConfig, steps_per_epoch: float) -> Iterator[Problem]:
    """Yield a time scale that is shorter than a step, which would take off more than all."""
    if not isinstance(cfg, AdamWConfig) or cfg.decay_timescale is None:
        return
    if (steps := cfg.decay_timescale * steps_per_epoch) < 1:
        what = f"{cfg.decay_timescale:g} epochs are {steps:.2g} steps, and it takes one or more"
        fix = f"optim.decay_timescale={1.1 / steps_per_epoch:.2g} or more"
        yield Problem("optim.decay_timescale", what, fix)


def schedule_decay(groups: Iterable[Group], cfg: AdamWConfig) -> None:
    """Have weight decay go with the learning rate as the config says; `set_rates` then sets it."""
    if (power := POWERS[cfg.decay_schedule]) != 0:
        for group in groups:
            group["decay_power"] = power
            group["decay_factor"] = group["weight_decay"] / cfg.lr**power


def shrink(weight: Tensor, update: Tensor, share: float, cautious: bool) -> None:
    """Take a share off the weights, in place, before `update` is subtracted from them.

    A cautious one only where both have one sign, so that the update leads towards 0 too (Chen et
    al. 2025, arXiv 2510.12402).
    """
    if cautious:
        weight.sub_(weight * (weight * update >= 0), alpha=share)
    else:
        weight.mul_(1 - share)
