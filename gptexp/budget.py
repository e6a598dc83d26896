"""A run's length in steps, from whichever budget its config gives."""

import math
from fractions import Fraction

from gptexp.config import TrainerConfig


def steps(
    trainer: TrainerConfig, *, block_size: int, train_tokens: int, flops_per_token: int
) -> int:
    """The smallest number of updates that reaches the budget; max_steps where none is given."""
    if not trainer.budgets:
        return trainer.max_steps
    [key] = trainer.budgets
    tokens = trainer.batch_size * trainer.grad_accum * block_size  # of one step
    per_step = {
        "max_tokens": Fraction(tokens),
        "max_epochs": Fraction(tokens, train_tokens),
        "max_flops": Fraction(tokens * flops_per_token),
    }
    # By its decimals, as it was typed: 0.07 as a binary fraction lies above 7/100.
    wanted = Fraction(repr(getattr(trainer, key)))
    return math.ceil(wanted / per_step[key])  # at least 1, since budgets are above 0
