"""Step to learning-rate multiplier: pure functions, so that a resumed run needs no state."""

import math
from collections.abc import Callable

from gptexp.config import ConstantConfig, CosineConfig, LinearConfig, ScheduleConfig

Schedule = Callable[[int], float]


def build_schedule(cfg: ScheduleConfig, max_steps: int) -> Schedule:
    """The multiplier of the peak learning rate for the update that follows `step` updates.

    Warm-up rises linearly as (step + 1) / (warmup_steps + 1), which is never 0, as in nanoGPT's
    `get_lr`. The variant's curve then runs from 1 at warmup_steps to its end at max_steps. A longer
    warm-up ends with the run, as if it had been given so.
    """
    curve, warmup_steps = _curve(cfg), min(cfg.warmup_steps, max_steps)

    def multiplier(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if step >= max_steps:
            return curve(1.0)
        return curve((step - warmup_steps) / (max_steps - warmup_steps))

    return multiplier


def _curve(cfg: ScheduleConfig) -> Callable[[float], float]:
    """The part after the warm-up, over the progress through it in [0, 1]."""
    match cfg:
        case CosineConfig(final_fraction=end):  # Loshchilov and Hutter 2017, one half period
            return lambda x: end + (1 - end) * 0.5 * (1 + math.cos(math.pi * x))
        case LinearConfig(final_fraction=end):
            return lambda x: 1 + (end - 1) * x
        case ConstantConfig():
            return lambda _: 1.0
    raise TypeError(f"no schedule for {type(cfg).__name__}")
