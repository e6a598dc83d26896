"""`gptexp ensemble`: the mean of what several runs predict, and what counting adds to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gptexp.analysis import mixing, ngrams
from gptexp.analysis.columns import OF_PARTS
from gptexp.analysis.mixing import LogProbs
from gptexp.analysis.render import render_table
from gptexp.analysis.table import Row, Table
from gptexp.data.load import LoadedCorpus
from gptexp.errors import ConfigError, DataError, Problem
from gptexp.experiment.finish import countable
from gptexp.experiment.members import check_targets, judged_text, predictions, read_members
from gptexp.inference.evaluation import standard_error
from gptexp.text import plural

ORDERS = 8  # of counts, of which one is chosen

HELD_OUT = 0.1  # share of the training text on which counts are weighed, without a test split


@dataclass(frozen=True)
class Part:
    """A run, or counts, in an ensemble; losses in nats per token."""

    name: str
    path: Path | None  # None of counts
    alone: float
    together: float  # with all parts before it
    weight: float  # of its probabilities in the whole
    gain: float | None = None  # by how much it lowers what is together; the first has none
    stderr: float | None = None  # standard error of the gain


@dataclass(frozen=True, repr=False)
class Ensemble:
    """Several runs as one model, and counts, judged exactly over all targets of a split."""

    parts: list[Part]  # in the order in which they were added
    tokens: int
    bits: float | None  # per byte, for each nat per token; None of tokens without known bytes
    notes: list[str]

    @property
    def loss(self) -> float:
        """Of all parts together, in nats per token."""
        return self.parts[-1].together

    @property
    def bpb(self) -> float | None:
        """The same in bits per byte."""
        return self._in_bits(self.loss)

    def table(self) -> Table:
        """A row for each part."""
        rows = [self._row(part) for part in self.parts]
        quiet = {column for column in OF_PARTS if all(row[column] is None for row in rows)}
        if all(part.path is not None for part in self.parts):
            quiet.add("weight")  # all have the same
        columns = ["part", *OF_PARTS, "path"]
        return Table(columns, rows, self.notes, ["run", *columns[1:]], frozenset({*quiet, "path"}))

    def __repr__(self) -> str:
        return render_table(self.table(), "text")

    def _in_bits(self, nats: float | None) -> float | None:
        return None if nats is None or self.bits is None else nats * self.bits

    def _row(self, part: Part) -> Row:
        return {
            "part": part.name,
            "alone": part.alone,
            "together": part.together,
            "bpb": self._in_bits(part.together),
            "gain": part.gain,
            "stderr": part.stderr,
            "gain_bpb": self._in_bits(part.gain),
            "weight": part.weight,
            "path": None if part.path is None else str(part.path),
        }


@dataclass(frozen=True)
class _Counts:
    """N-grams of the order, and by the weight, that are best where they were weighed."""

    order: int
    weight: float
    log_probs: LogProbs  # of what is judged
    notes: list[str]


def ensemble(
    runs: Sequence[Path], split: str = "val", *, counts: bool = False, device: str = "cpu"
) -> Ensemble:
    """The mean of the runs' probabilities, over all of a split as each run's own evaluation.

    With `counts`, n-grams of the training text come last, weighed on text that they have not seen.
    Holds one model at a time, and a number for each target of each run. Raises ConfigError with a
    line for each run that cannot be read or is judged on other tokens than the first, DataError for
    a text that cannot be judged.
    """
    if not runs:
        raise ConfigError(Problem("runs", "there are none", "a list, as ['outputs/default']"))
    if len(runs) == 1 and not counts:
        what = "one run, and nothing to average it with"
        raise ConfigError(Problem(runs[0], what, "name another one, or add --counts"))
    members = read_members(runs, split)
    text = judged_text(members, split, whole=counts)
    texts = [text, _to_weigh(text)] if counts else [text]
    for cut in texts:
        check_targets(members, cut)
    predicted, windows = predictions(members, texts, device)
    judged = predicted[0]
    together = list(mixing.averages(judged))
    parts = [
        Part(member.name, member.path, _loss(alone), _loss(mean), 1 / len(members))
        for member, alone, mean in zip(members, judged, together, strict=True)
    ]
    notes = [_scope(split, text, windows)]
    if counts:
        *_, held = mixing.averages(predicted[1])
        added = _weigh(text, together[-1], texts[1], held)
        together.append(mixing.mixture(together[-1], added.log_probs, added.weight))
        parts = [replace(part, weight=part.weight * (1 - added.weight)) for part in parts]
        name, alone = f"{added.order}-gram counts", _loss(added.log_probs)
        parts.append(Part(name, None, alone, _loss(together[-1]), added.weight))
        notes += added.notes
    for number, (before, after) in enumerate(pairwise(together), start=1):
        gain, stderr = _gain(before, after, windows)
        parts[number] = replace(parts[number], gain=gain, stderr=stderr)
    return Ensemble(parts, len(together[0]), _bits(text), notes)


def _to_weigh(text: LoadedCorpus) -> LoadedCorpus:
    """A text to weigh counts on: its validation split is the test split of `text`.

    Without one it is the end of the training split, which is not counted then.
    """
    splits = text.splits
    if len(splits.test):
        return replace(text, splits=replace(splits, val=splits.test, test=splits.test[:0]))
    place = int(len(splits.train) * (1 - HELD_OUT))
    counted, held = text.format.halves(splits.train, text.tokenizer, place)
    if len(held) < 2 or len(counted) < 2:
        what = f"{len(splits.train):,} tokens to train on, too few to hold some of them out"
        raise DataError(Problem("--counts", what, "leave it out, or name a run of a longer text"))
    return replace(text, splits=replace(splits, train=counted, val=held))


def _weigh(text: LoadedCorpus, mean: LogProbs, to_weigh: LoadedCorpus, held: LogProbs) -> _Counts:
    """The counts that go best with the runs on `to_weigh`, whose mean is `held` there.

    Their mean is `mean` on `text`.
    """
    fit = mixing.best_mixture(held, _counted(to_weigh))
    by_order = _counted(text)
    best = mixing.best_mixture(mean, by_order)
    size = f"{len(held):,} tokens"
    if len(text.splits.test):
        place = f"the {size} of the test split, which no run was trained on"
    else:
        place = f"the last {size} of the training text, not counted for that, but trained on"
    notes = [
        *([] if text.counted is None else [f"counts are of the first {text.counted:,} tokens"]),
        f"counts: {fit.number + 1}-grams weigh {fit.weight:.3f}, the best on {place}; runs reach "
        f"{_loss(held):.4f} there",
        f"hindsight: {best.number + 1}-grams at {best.weight:.3f}, the best on what is judged, "
        f"would give {best.loss:.4f}",
    ]
    return _Counts(fit.number + 1, fit.weight, by_order[fit.number], notes)


def _counted(text: LoadedCorpus) -> list[LogProbs]:
    """What n-grams of order 1, 2, ... of the training split predict of the targets of `val`."""
    train, val, end, is_target = countable(text)
    by_order = ngrams.probabilities(
        train, val, text.tokenizer.vocab_size, orders=ORDERS, boundary=end
    )
    return [np.log(p[is_target]) for p in by_order]


def _scope(split: str, text: LoadedCorpus, windows: NDArray[np.int64]) -> str:
    """What the numbers are of, in a line."""
    unit = text.format.noun
    return (
        f"{split}: {windows.sum():,} tokens of {text.source}, losses in nats per token; stderr is "
        f"that of the gain, over {plural(len(windows), unit)}"
    )


def _loss(log_probs: LogProbs) -> float:
    return -float(log_probs.mean())


def _gain(before: LogProbs, after: LogProbs, windows: NDArray[np.int64]) -> tuple[float, float]:
    """By how much the loss fell, and its standard error over windows of so many tokens each."""
    difference = after - before
    sums = np.add.reduceat(difference, np.append(0, windows.cumsum()[:-1]))
    stderr = standard_error(torch.from_numpy(sums), torch.from_numpy(windows))
    return float(difference.mean()), stderr


def _bits(text: LoadedCorpus) -> float | None:
    """Bits per byte of the targets, for each nat per token; None where no bytes are known."""
    _, val, _, is_target = countable(text)
    ids = val[is_target]
    size = float(text.tokenizer.byte_lengths()[ids].sum())
    return len(ids) / math.log(2) / size if size else None
