"""What a page holds of each run: the model, what rounding costs, the curve and the samples."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gptexp.config import Config
from gptexp.errors import ConfigError, DataError, Problem
from gptexp.experiment.evaluate import own_text
from gptexp.inference.load import LoadedRun, load_run
from gptexp.models.counts import count_parameters, total_parameters
from gptexp.playground.history import history
from gptexp.playground.pack import Packed, pack
from gptexp.playground.spec import check_runs_there, model_spec

log = logging.getLogger(__name__)

WORDS = {"raw": "weights", "ema": "running average of the weights", "mean": "mean of the weights"}


@dataclass(frozen=True)
class Cost:
    """The exact validation loss before and after rounding, in nats per token."""

    exact: float
    rounded: float
    tokens: int

    def __str__(self) -> str:
        return (
            f"validation loss {self.exact:.4f}, rounded {self.rounded:.4f} "
            f"({self.rounded - self.exact:+.5f} nats per token)"
        )


@dataclass(frozen=True)
class Contents:
    """A run on the page."""

    run: Path  # its directory, or a lone checkpoint
    config: Config
    name: str  # what tells it from the others
    facts: dict[str, Any]  # plain values for the page's script
    data: bytes  # the packed weights
    cost: Cost | None  # None where its text is not there
    damage: list[Problem]  # files of the run that were not read whole
    losses: Sequence[float] = ()  # the best of all its seeds, where others stand behind it

    def describe(self, kind: str) -> str:
        """One line for the screen."""
        words = f"{self.facts['parameters']:,} parameters as {kind}, {self.facts['weights']}; "
        return f"{self.name}: {words}{self.facts['cost']}"


def contents(run: Path, name: str, kind: str, average: str = "raw") -> Contents:
    """Read a run directory, or a lone checkpoint, for a page with weights of `kind`.

    Of an `average` of the weights, ema or mean, where it is best. Raises CheckpointError, and
    ConfigError for a model that the page cannot run.
    """
    loaded = load_run(run, weights=average)
    model, tokenizer = loaded.config.model, loaded.tokenizer
    check_runs_there(run, model, tokenizer)
    if loaded.config.data.chat:
        what = "answers questions, and a page continues texts"
        raise ConfigError(Problem(run, what, "a run of a text, or gptexp chat RUN"))
    packed = pack(loaded.model, kind, run)
    cost = _cost(loaded, packed)
    past = history(run)
    best = ", its best" if run.is_dir() else ""
    facts = {
        "name": name,
        "model": f"{model.name}: {type(loaded.model).describe(model)}",
        "parameters": total_parameters(model, tokenizer.vocab_size),
        "components": count_parameters(model, tokenizer.vocab_size),
        "text": f"{loaded.config.data.name}: {tokenizer.describe()}",
        "step": loaded.step,
        "weights": f"{WORDS[average]} of step {loaded.step:,}{best}",
        "cost": "what rounding costs is not known without its text" if cost is None else str(cost),
        "spec": model_spec(model, tokenizer.vocab_size),
        "tensors": packed.tensors,
        "tokenizer": tokenizer.to_dict(),
        "end": loaded.format.end(tokenizer),
        "stop": loaded.format.stop(tokenizer),
        "prompt": loaded.format.prompt(None, tokenizer).tolist(),
        "curve": past.curve,
        "samples": past.samples,
    }
    return Contents(run, loaded.config, name, facts, packed.data, cost, past.damage)


def _cost(loaded: LoadedRun, packed: Packed) -> Cost | None:
    """The exact loss of both models; None, with a warning, where the text cannot be read."""
    try:
        text = own_text(loaded, "val")
    except DataError as error:
        log.warning("%s", error.problems[0].told())
        return None
    exact = loaded.judged(text, "val")
    rounded = replace(loaded, model=packed.model).judged(text, "val")
    return Cost(exact.loss, rounded.loss, exact.tokens)
