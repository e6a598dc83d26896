"""Step to learning-rate multiplier: pure functions, so that a resumed run needs no state."""

import math
from collections.abc import Callable

from gptexp.config import (
    ConstantConfig,
    CosineConfig,
    LinearConfig,
    ScheduleConfig,
    Shape,
    WSDConfig,
)

Schedule = Callable[[int], float]


def build_schedule(cfg: ScheduleConfig, max_steps: int) -> Schedule:
    """The multiplier of the peak learning rate for the update that follows `step` updates.

    Warm-up rises linearly as (step + 1) / (warmup_steps + 1), which is never 0, as in nanoGPT's
    `get_lr`. The peak then lasts for the variant's trunk, if it has one, and its curve runs from 1
    there to its end at max_steps. A longer warm-up ends with the run, as if it had been given so.
    """
    curve, warmup_steps = _curve(cfg), min(cfg.warmup_steps, max_steps)
    begin = max(warmup_steps, cfg.trunk_steps(max_steps))  # of the curve

    def multiplier(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if step < begin:
            return 1.0
        if step >= max_steps:
            return curve(1.0)
        return curve((step - begin) / (max_steps - begin))

    return multiplier


def _curve(cfg: ScheduleConfig) -> Callable[[float], float]:
    """The part after warm-up and trunk, over the progress through it in [0, 1]."""
    match cfg:
        case CosineConfig(final_fraction=end) | WSDConfig(final_fraction=end, shape=Shape.cosine):
            # Loshchilov and Hutter 2017, one half period
            return lambda x: end + (1 - end) * 0.5 * (1 + math.cos(math.pi * x))
        case LinearConfig(final_fraction=end) | WSDConfig(final_fraction=end, shape=Shape.linear):
            return lambda x: 1 + (end - 1) * x
        case WSDConfig(final_fraction=end):
            return lambda x: 1 + (end - 1) * math.sqrt(x)
        case ConstantConfig():
            return lambda _: 1.0
    raise TypeError(f"no schedule for {type(cfg).__name__}")
