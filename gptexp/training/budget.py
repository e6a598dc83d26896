"""A run's length in steps, from whichever budget its config gives."""

from fractions import Fraction

from gptexp.config import TrainerConfig
from gptexp.data.corpus import Corpus


def steps(trainer: TrainerConfig, corpus: Corpus, flops_per_token: int) -> int:
    """The smallest number of updates that reaches the budget; max_steps where none is given."""
    if not trainer.budgets:
        return trainer.max_steps
    [key] = trainer.budgets
    # By its decimals, as it was typed: 0.07 as a binary fraction lies above 7/100.
    wanted = Fraction(repr(getattr(trainer, key)))
    tokens = {
        "max_tokens": wanted,
        "max_epochs": wanted * corpus.tokens_per_epoch("train"),
        "max_flops": wanted / flops_per_token,
    }[key]
    few, enough = 0, 1  # no step, and a number of them that doubles until it reaches the budget
    while corpus.tokens_seen(enough) < tokens:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        if corpus.tokens_seen(middle) < tokens:
            few = middle
        else:
            enough = middle
    return enough
