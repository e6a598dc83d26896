"""A run's length in steps, from whichever budget its config gives."""

from fractions import Fraction

from gptexp.config import TrainerConfig
from gptexp.data.corpus import Corpus
from gptexp.errors import ConfigError, Problem


def steps(trainer: TrainerConfig, corpus: Corpus, flops_per_token: int) -> int:
    """The smallest number of updates that reaches the budget; max_steps where none is given.

    Raises ConfigError for FLOPs of a model that says it needs none.
    """
    if not trainer.budgets:
        return trainer.max_steps
    [key] = trainer.budgets
    # By its decimals, as it was typed: 0.07 as a binary fraction lies above 7/100.
    tokens = Fraction(repr(getattr(trainer, key)))
    if key == "max_epochs":
        tokens *= corpus.tokens_per_epoch("train")
    elif key == "max_flops":
        if flops_per_token == 0:  # as of a table alone, in own code
            what = "no number of them is reached: the model says that a token takes none"
            raise ConfigError(Problem("trainer.max_flops", what, "trainer.max_tokens=1000000"))
        tokens /= flops_per_token
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
