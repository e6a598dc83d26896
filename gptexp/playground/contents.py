"""What a page holds of each run: the model, what rounding costs, the curve and the samples."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gptexp.analysis.cliff import CurvePoint, measure, read_curve
from gptexp.errors import ConfigError, DataError, Problem, StorageError
from gptexp.experiment.evaluate import validation_text
from gptexp.inference.load import LoadedRun, load_run
from gptexp.models.counts import count_parameters, total_parameters
from gptexp.playground.pack import Packed, pack
from gptexp.playground.spec import check_runs_there, model_spec
from gptexp.runs.journal import Samples
from gptexp.runs.lines import Lines

log = logging.getLogger(__name__)

MOST_POINTS = 100  # of a curve: as many as a picture of its size tells apart

MOST_SAMPLES = 20  # of the stages of training

MOST_CHARACTERS = 500  # of a sample


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

    name: str  # what tells it from the others
    facts: dict[str, Any]  # plain values for the page's script
    data: bytes  # the packed weights
    cost: Cost | None  # None where its text is not there
    damage: list[Problem]  # files of the run that were not read whole

    def describe(self, kind: str) -> str:
        """One line for the screen."""
        words = f"{self.facts['parameters']:,} parameters as {kind}, "
        return f"{self.name}: {words}{self.facts['cost']}"


def contents(run: Path, name: str, kind: str) -> Contents:
    """Read a run directory, or a lone checkpoint, for a page with weights of `kind`.

    Raises CheckpointError, and ConfigError for a model that the page cannot run.
    """
    loaded = load_run(run)
    model, tokenizer = loaded.config.model, loaded.tokenizer
    check_runs_there(run, model, tokenizer)
    if loaded.config.data.chat:
        what = "answers questions, and a page continues texts"
        raise ConfigError(Problem(run, what, "a run of a text, or gptexp chat RUN"))
    packed = pack(loaded.model, kind, run)
    cost = _cost(loaded, packed)
    curve, samples, damage = _history(run)
    facts = {
        "name": name,
        "model": f"{model.name}: {type(loaded.model).describe(model)}",
        "parameters": total_parameters(model, tokenizer.vocab_size),
        "components": count_parameters(model, tokenizer.vocab_size),
        "text": f"{loaded.config.data.name}: {tokenizer.describe()}",
        "step": loaded.step,
        "cost": "what rounding costs is not known without its text" if cost is None else str(cost),
        "spec": model_spec(model, tokenizer.vocab_size),
        "tensors": packed.tensors,
        "tokenizer": tokenizer.to_dict(),
        "end": loaded.format.end(tokenizer),
        "prompt": loaded.format.prompt(None, tokenizer).tolist(),
        "curve": curve,
        "samples": samples,
    }
    return Contents(name, facts, packed.data, cost, damage)


def _cost(loaded: LoadedRun, packed: Packed) -> Cost | None:
    """The exact loss of both models; None, with a warning, where the text cannot be read."""
    try:
        text = validation_text(loaded)
    except DataError as error:
        log.warning("%s", error.problems[0].told())
        return None
    exact = loaded.judged(text, "val")
    rounded = replace(loaded, model=packed.model).judged(text, "val")
    return Cost(exact.loss, rounded.loss, exact.tokens)


def _history(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[Problem]]:
    """The curve, the samples by their steps, and what is damaged of both; none of a lone file."""
    if not run.is_dir():
        return {}, [], []
    points, notes = read_curve(run)
    damage = [_damaged(run / "metrics.jsonl", notes)] if notes else []
    samples: list[dict[str, Any]] = []
    lines = Lines(run / "samples.jsonl")
    try:
        samples = [
            {"step": sample.step, "text": f"{sample.prompt}{sample.text}"[:MOST_CHARACTERS]}
            for sample in _spread(list(Samples(lines)), MOST_SAMPLES)
        ]
    except StorageError as error:
        damage += error.problems
    if lines.left_out:
        damage.append(_damaged(lines.path, lines.damage()))
    return _curve(points), samples, damage


def _damaged(path: Path, notes: Iterable[str]) -> Problem:
    what = "; ".join(note.removeprefix(f"{path}: ") for note in notes)
    return Problem(path, what, "the page holds the rest; see gptexp reproduce")


def _curve(points: Sequence[CurvePoint]) -> dict[str, Any]:
    """The steps and losses of the evaluations, and where they are best and where they turn."""
    cliff = measure(points)
    if cliff is None:
        return {}
    shown = {point.step: point for point in _spread(points, MOST_POINTS)}
    shown |= {point.step: point for point in (cliff.best, cliff.onset) if point is not None}
    kept = [shown[step] for step in sorted(shown)]
    return {
        "steps": [point.step for point in kept],
        "val": [round(point.val_loss, 4) for point in kept],
        "train": [round(point.train_loss, 4) for point in kept],
        "best": cliff.best.step,
        "onset": None if cliff.onset is None else cliff.onset.step,
        "verdict": cliff.verdict,
    }


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items at equal distances, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]
