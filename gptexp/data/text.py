"""One long text: split by characters, batches of windows drawn at random or epoch by epoch."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp.config import DataConfig, Windows
from gptexp.data.corpus import (
    SPLITS,
    Batch,
    Corpus,
    Format,
    Ids,
    Splits,
    Tokens,
    compact,
    epoch_order,
    evenly_spaced,
    to_device,
)
from gptexp.data.read import source
from gptexp.errors import DataError, Problem
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Text(Format):
    """The format of a text as one stream: a context may begin anywhere."""

    cfg: DataConfig
    noun: ClassVar[str] = "window"

    def normalise(self, text: str) -> str:
        return text

    def training_text(self, text: str) -> str:
        return text[slice(*self._bounds(text)["train"])]

    def split(
        self,
        text: str,
        tokenizer: Tokenizer,
        block_size: int,
        needed: Collection[str] = SPLITS,
    ) -> Splits:
        """Cut the text by characters, then encode what is needed, each part a window or more."""
        bounds = self._bounds(text)
        ids = {
            name: tokenizer.encode(text[start:end] if name in needed else "")
            for name, (start, end) in bounds.items()
        }
        ids["train"] = ids["train"][: int(len(ids["train"]) * self.cfg.fraction)]
        parts = {name: compact(part, tokenizer.vocab_size) for name, part in ids.items()}
        splits = Splits(**parts, bounds=bounds)
        lengths = {name: len(ids) for name, ids in splits.items() if name in needed}
        check_lengths(self.cfg, lengths, block_size)
        return splits

    def describe(self, text: str, tokenizer: Tokenizer, splits: Splits, block_size: int) -> str:
        test = f", {len(splits.test):,} test" if len(splits.test) else ""
        return f"{len(splits.train):,} train{test}, {len(splits.val):,} val"

    def end(self, tokenizer: Tokenizer) -> None:
        return None

    def target_mask(self, ids: Tokens, tokenizer: Tokenizer, block_size: int) -> NDArray[np.bool_]:
        """Every token but the first, which nothing precedes."""
        return np.arange(len(ids)) > 0

    def prompt(self, text: str | None, tokenizer: Tokenizer) -> Ids:
        """The ids of the reader's text, or of a line break; without one, the first token known."""
        if text == "":
            raise DataError(
                Problem("prompt", "empty", "give at least one character, or leave it out")
            )
        try:
            return tokenizer.encode("\n" if text is None else text)
        except DataError:
            if text is not None:
                raise
            return np.zeros(1, np.int64)

    def excerpt(self, val: Tokens, tokenizer: Tokenizer, tokens: int) -> Tokens:
        return val[: tokens + 1]

    def join(self, texts: list[str]) -> str:
        return "".join(texts)

    def corpus(
        self,
        splits: Splits,
        tokenizer: Tokenizer,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
    ) -> "TextCorpus":
        return TextCorpus(splits, block_size, rows, seed, device, self.cfg.sampling)

    def _bounds(self, text: str) -> dict[str, tuple[int, int]]:
        """Start and end of each split, in characters."""
        cfg = self.cfg
        val_start = int(len(text) * (1 - cfg.val_fraction))
        test_start = int(len(text) * (1 - cfg.val_fraction - cfg.test_fraction))
        if cfg.test_fraction == 0:
            test_start = val_start
        return {
            "train": (0, test_start),
            "test": (test_start, val_start),
            "val": (val_start, len(text)),
        }


def check_lengths(cfg: DataConfig, lengths: dict[str, int], block_size: int) -> None:
    """Raises DataError where a split of so many tokens has no whole window."""
    asked = {name: n for name, n in lengths.items() if name != "test" or cfg.test_fraction}
    shortest = min(asked.values(), default=0)
    problems = []
    for name, length in asked.items():
        if length > block_size:
            continue
        if name == "train" and cfg.fraction < 1:
            fix = f"a larger data.fraction, now {cfg.fraction:g}, or a longer text"
        elif shortest >= 2:
            fix = f"model.block_size={shortest - 1} at most, or a longer text"
        else:
            fix = "a longer text, or another data.fraction and data.val_fraction"
        what = f"{block_size} needs {block_size + 1} tokens in each split, and {name} has"
        of_file = f"{what} {length}, of {source(cfg)}"
        problems.append(Problem("model.block_size", of_file, fix))
    DataError.raise_for(problems)


class EpochWindows:
    """Where the windows of a text begin that are each taken once an epoch, in a drawn order.

    In an epoch they lie side by side from some offset below block_size on, as many as the text
    holds; what is left over at its two ends belongs to other epochs. Each offset has its turn in
    block_size epochs, in an order that is drawn for them, so that each place of the text begins a
    window once in these.
    """

    def __init__(self, tokens: int, block_size: int, seed: int) -> None:
        self.block_size, self.seed = block_size, seed
        # A window has block_size inputs, and one more token for the last target.
        self.counts = (tokens - 1 - np.arange(block_size)) // block_size  # [offsets]

    def starts(self, places: Ids) -> Ids:
        """The first token of the window at each of these places in the order of all epochs."""
        turns, places = np.divmod(places, self.counts.sum())
        starts = np.empty_like(places)
        for turn in np.unique(turns):
            chosen = turns == turn
            starts[chosen] = self._of_turn(int(turn), places[chosen])
        return starts

    def _of_turn(self, turn: int, places: Ids) -> Ids:
        """The same, of places in the epochs in which each offset has its turn once."""
        key = stream_seed(self.seed, "data", 1, turn)
        offsets = np.random.Generator(np.random.Philox(key=key)).permutation(self.block_size)
        ends = self.counts[offsets].cumsum()
        epochs = np.searchsorted(ends, places, side="right")  # in this turn
        starts = np.empty_like(places)
        for epoch in np.unique(epochs):
            chosen, offset = epochs == epoch, offsets[epoch]
            count = int(self.counts[offset])
            order = epoch_order(self.seed, turn * self.block_size + int(epoch), count)
            windows = order[places[chosen] - (ends[epoch] - count)]
            starts[chosen] = offset + windows * self.block_size
        return starts


class StreamCorpus(Corpus, ABC):
    """A stream of tokens: a batch is drawn at random or epoch by epoch; contexts begin anywhere."""

    end = None

    def __init__(
        self,
        train_size: int,
        block_size: int,
        rows: int,
        seed: int,
        sampling: Windows = Windows.random,
    ) -> None:
        self.block_size, self.rows, self.seed = block_size, rows, seed
        self._epochs = None
        if sampling is Windows.epoch:
            self._epochs = EpochWindows(train_size, block_size, seed)

    @abstractmethod
    def tokens_per_epoch(self, split: str) -> int: ...

    @abstractmethod
    def rows_at(self, split: str, starts: Ids, length: int) -> Tensor:
        """The tokens from each of `starts` on, int64 [rows, length], on the device."""

    def drawn(self, step: int, places: Ids, kept: Any) -> Batch:
        if self._epochs is not None:
            starts = self._epochs.starts(places)
        else:
            key = stream_seed(self.seed, "data", 0, step)
            generator = np.random.Generator(np.random.Philox(key=key))
            most = self.tokens_per_epoch("train") - self.block_size
            starts = generator.integers(0, most, size=len(places))
        return self._batch("train", starts[kept], self.block_size)

    def windows(
        self, split: str, batch_size: int, limit: int | None = None, cap: int | None = None
    ) -> Iterator[Batch]:
        """Windows do not overlap; what is left over comes last, as one shorter window [1, rest].

        A cap that leaves out anything leaves that out too.
        """
        every, judged = self.targets(split, limit), self.targets(split, limit, cap)
        full, rest = divmod(every, self.block_size)
        chosen = np.arange(full)
        if full and judged < every:
            chosen = evenly_spaced(full, judged // self.block_size)
        starts = chosen * self.block_size
        for first in range(0, len(starts), batch_size):
            yield self._batch(split, starts[first : first + batch_size], self.block_size)
        if rest and judged == every:
            yield self._batch(split, np.array([every - rest]), rest)

    def targets(self, split: str, limit: int | None = None, cap: int | None = None) -> int:
        size = self.tokens_per_epoch(split)
        targets = max((size if limit is None else min(size, limit)) - 1, 0)
        if cap is None or cap >= targets:
            return targets
        return min(max(1, cap // self.block_size) * self.block_size, targets)

    def rows_per_epoch(self, split: str) -> float:
        return self.tokens_per_epoch(split) / self.block_size

    def tokens_of(self, rows: int) -> int:
        return rows * self.block_size

    def _batch(self, split: str, starts: Ids, length: int) -> Batch:
        rows = self.rows_at(split, starts, length + 1)
        return Batch(rows[:, :-1], rows[:, 1:])


class TextCorpus(StreamCorpus):
    """The stream of one long text, whole on the device."""

    def __init__(
        self,
        splits: Splits,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
        sampling: Windows = Windows.random,
    ) -> None:
        super().__init__(len(splits.train), block_size, rows, seed, sampling)
        self.tokens = {name: torch.from_numpy(ids).to(device) for name, ids in splits.items()}
        self.device = device

    def tokens_per_epoch(self, split: str) -> int:
        return self.tokens[split].numel()

    def rows_at(self, split: str, starts: Ids, length: int) -> Tensor:
        places = to_device(starts, self.device)[:, None]
        return self.tokens[split][places + torch.arange(length, device=self.device)].long()
