"""Documents, one a line: a context begins at each one's start and never reaches into the next.

A line break before each document and after it is the token that microGPT calls BOS: from it the
first character is predicted, and it is what follows the last one. So a list of documents is a text
that begins and ends with a line break, and a split's ids are those of such a text.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gptexp.config import DataConfig
from gptexp.data.corpus import (
    IGNORE_INDEX,
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
from gptexp.data.read import BOUNDARY, source
from gptexp.errors import DataError, Problem
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer

ORDER_SEED = 0  # of every run: whatever its seed, a run is judged on the same documents


@dataclass(frozen=True)
class Documents(Format):
    """The format of a text as documents, one a line."""

    cfg: DataConfig
    noun: ClassVar[str] = "document"  # what one of them is called

    def normalise(self, text: str) -> str:
        """Each line without the white space around it; empty ones are dropped."""
        lines = [line for line in map(str.strip, text.split(BOUNDARY)) if line]
        return BOUNDARY + BOUNDARY.join(self.in_order(lines)) + BOUNDARY

    def in_order(self, items: list[str]) -> list[str]:
        """The documents of a file, in the order that the config wants."""
        if not self.cfg.shuffle:
            return items
        key = stream_seed(ORDER_SEED, "documents")
        order = np.random.Generator(np.random.Philox(key=key)).permutation(len(items))
        return [items[i] for i in order]

    def items(self, text: str) -> list[str]:
        """The documents of a normalised text."""
        return text[len(BOUNDARY) : -len(BOUNDARY)].split(BOUNDARY)

    def training_text(self, text: str) -> str:
        lines = self.items(text)
        return BOUNDARY.join(["", *lines[slice(*self.bounds(len(lines))["train"])], ""])

    def split(
        self, text: str, tokenizer: Tokenizer, block_size: int, needed: Collection[str] = SPLITS
    ) -> Splits:
        """Cut between documents, then encode what is needed; each such split must have one."""
        lines = self.items(text)
        bounds = self.bounds(len(lines))
        if len(lines) == 1 and len(needed) > 1:
            what = f"holds one {self.noun}, and training and validation each need one"
            fix = f"a file with one {self.noun} a line, or data=text for a text"
            raise DataError(Problem(source(self.cfg), what, fix))
        kept = bounds | {"train": (0, int(bounds["train"][1] * _as_typed(self.cfg.fraction)))}
        self._check(kept, needed)
        parts = {}
        for name, (start, end) in kept.items():
            chosen = lines[start:end] if name in needed else []
            parts[name] = compact(self.encoded(chosen, tokenizer), tokenizer.vocab_size)
        return Splits(**parts, bounds=bounds)

    def describe(self, text: str, tokenizer: Tokenizer, splits: Splits, block_size: int) -> str:
        """Counts, repeats within and across the splits, and what is cut."""
        lines = self.items(text)
        token = self.end(tokenizer)
        train, test, val = (
            max(int(np.count_nonzero(ids == token)) - 1, 0) for _, ids in splits.items()
        )
        in_train = set(lines[:train])
        twice = sum(line in in_train for line in lines[slice(*splits.bounds["val"])])
        words = (
            f"{len(lines):,} documents ({len(lines) - len(set(lines)):,} repeat another); "
            f"{train:,} train{f', {test:,} test' if test else ''}, {val:,} val, "
            f"{twice:,} of them in train too"
        )
        lengths = np.diff(np.flatnonzero(tokenizer.encode(text) == token))
        cut = int(np.count_nonzero(lengths > block_size))
        return words + (f"; {cut:,} longer than block_size are cut there" if cut else "")

    def end(self, tokenizer: Tokenizer) -> int:
        """The id of BOUNDARY; raises DataError where it is not one token."""
        tokens = tokenizer.encode(BOUNDARY).tolist()
        if len(tokens) != 1:
            raise self._bounded(f"makes {len(tokens)} tokens of a line break", tokenizer)
        return int(tokens[0])

    def halves(self, ids: Tokens, tokenizer: Tokenizer, place: int) -> tuple[Tokens, Tokens]:
        """Both are whole documents, and have the boundary between them."""
        edge = int(np.flatnonzero(ids[: place + 1] == self.end(tokenizer))[-1])
        return ids[: edge + 1], ids[edge:]

    def target_mask(self, ids: Tokens, tokenizer: Tokenizer, block_size: int) -> NDArray[np.bool_]:
        """The first block_size targets of each document."""
        starts, lengths = _documents(ids, self.end(tokenizer), block_size)
        begun = np.zeros(len(ids) + 1, np.int64)
        # One more target begins after each document's start, and ends after its last target.
        np.add.at(begun, starts + 1, 1)
        np.add.at(begun, starts + lengths + 1, -1)
        return begun[:-1].cumsum() > 0

    def prompt(self, text: str | None, tokenizer: Tokenizer) -> Ids:
        """The boundary, and the beginning of one document."""
        if text is not None and BOUNDARY in text:
            what, fix = "a line break ends a document", "the start of one document"
            raise DataError(Problem("prompt", what, fix))
        begun = tokenizer.encode(BOUNDARY)  # by itself, whatever white space the text begins with
        return np.concatenate([begun, tokenizer.encode(text or "")])

    def enclose(self, text: str) -> str:
        if not text or BOUNDARY in text:
            what = f"{text!r} is not one document"
            raise DataError(Problem("--text", what, "a line, as --text emma"))
        return BOUNDARY + text + BOUNDARY

    def excerpt(self, val: Tokens, tokenizer: Tokenizer, tokens: int) -> Tokens:
        """The first document, between its two boundaries."""
        edges = np.flatnonzero(val == self.end(tokenizer))
        return val[: int(edges[1]) + 1]

    def join(self, texts: list[str]) -> str:
        return "".join(text + BOUNDARY for text in texts)

    def corpus(
        self,
        splits: Splits,
        tokenizer: Tokenizer,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
    ) -> "DocumentCorpus":
        return DocumentCorpus(splits, block_size, rows, seed, device, self.end(tokenizer))

    def bounds(self, count: int) -> dict[str, tuple[int, int]]:
        """Start and end of each split, of so many documents."""
        val, test = _as_typed(self.cfg.val_fraction), _as_typed(self.cfg.test_fraction)
        val_start, test_start = int(count * (1 - val)), int(count * (1 - val - test))
        return {
            "train": (0, test_start),
            "test": (test_start, val_start),
            "val": (val_start, count),
        }

    def encoded(self, lines: list[str], tokenizer: Tokenizer) -> Ids:
        """The ids of some documents; raises DataError where a boundary of one is no token."""
        if not lines:
            return tokenizer.encode("")
        ids = tokenizer.encode(BOUNDARY.join(["", *lines, ""]))
        if np.count_nonzero(ids == self.end(tokenizer)) != len(lines) + 1:
            raise self._bounded("joins line breaks with what stands beside them", tokenizer)
        return ids

    def _bounded(self, what: str, tokenizer: Tokenizer) -> DataError:
        """The error of a tokenizer in which documents have no bounds."""
        what = f"{tokenizer.describe()}: it {what}, which is the bound of documents"
        return DataError(Problem("tokenizer", what, "a token for the line break alone"))

    def _check(self, kept: dict[str, tuple[int, int]], needed: Collection[str]) -> None:
        """Raises DataError for a part without a document; validation always has one."""
        cfg, problems = self.cfg, []
        for name, key in {"train": "fraction", "test": "test_fraction"}.items():
            start, end = kept[name]
            if end > start or name not in needed or (name == "test" and not cfg.test_fraction):
                continue
            fix = "a larger"
            if name == "train" and kept["test"][0] == 0:  # the others took all
                is_of_test = cfg.test_fraction > cfg.val_fraction
                key, fix = "test_fraction" if is_of_test else "val_fraction", "a smaller"
            what = f"{getattr(cfg, key)} leaves no {self.noun} for {name}, of {kept['val'][1]}"
            what += f" in {source(cfg)}"
            problems.append(Problem(f"data.{key}", what, f"{fix} data.{key}, or more {self.noun}s"))
        DataError.raise_for(problems)


def _as_typed(share: float) -> Fraction:
    """The decimal of a share: 10 (1 - 0.3 - 0.2) is below 5 in binary fractions."""
    return Fraction(repr(share))


def _documents(ids: Tokens, end: int, block_size: int) -> tuple[Ids, Ids]:
    """The start of each document of a split and its number of targets, both [documents]."""
    edges = np.flatnonzero(ids == end)
    return edges[:-1], np.minimum(np.diff(edges), block_size)


class DocumentCorpus(Corpus):
    """Whole documents, in an order that is drawn anew in each epoch; shorter ones are padded.

    A document has a target for each of its tokens and one for its end, of which the first
    block_size count, as in microGPT.
    """

    def __init__(
        self, splits: Splits, block_size: int, rows: int, seed: int, device: torch.device, end: int
    ) -> None:
        self.block_size, self.rows, self.seed, self.device = block_size, rows, seed, device
        self.end: int = end
        self.tokens = {name: torch.from_numpy(ids).to(device) for name, ids in splits.items()}
        # Of each document: where it begins, the length of its row, and how many targets that has.
        self._starts, self._lengths, self._targets = {}, {}, {}
        for name, ids in splits.items():
            self._starts[name], self._lengths[name], self._targets[name] = self.rows_of(ids)
        self._sizes = {name: int(targets.sum()) for name, targets in self._targets.items()}
        self._drawn: dict[int, tuple[Ids, Ids]] = {}  # of the last two epochs asked for

    def rows_of(self, ids: Tokens) -> tuple[Ids, Ids, Ids]:
        """Of each document of a split its start, the length of its row and its targets, [rows]."""
        starts, lengths = _documents(ids, self.end, self.block_size)
        return starts, lengths, lengths

    def drawn(self, step: int, places: Ids, kept: Any) -> Batch:
        epochs, places = np.divmod(places[kept], len(self._starts["train"]))
        chosen = [np.empty(0, np.int64)]  # of a world larger than the batch, some have no row
        for epoch in np.unique(epochs):
            chosen.append(self._order(int(epoch))[0][places[epochs == epoch]])
        return self.rows_at("train", np.concatenate(chosen))

    def windows(
        self, split: str, batch_size: int, limit: int | None = None, cap: int | None = None
    ) -> Iterator[Batch]:
        """A row is a document; `limit` keeps the first whole ones, at least one."""
        chosen = self._judged(split, limit, cap)
        for start in range(0, len(chosen), batch_size):
            yield self.rows_at(split, chosen[start : start + batch_size])

    def targets(self, split: str, limit: int | None = None, cap: int | None = None) -> int:
        return int(self._targets[split][self._judged(split, limit, cap)].sum())

    def tokens_per_epoch(self, split: str) -> int:
        return self._sizes[split]

    def rows_per_epoch(self, split: str) -> float:
        return len(self._starts[split])

    def tokens_of(self, rows: int) -> int:
        epoch, place = divmod(rows, len(self._starts["train"]))
        if place == 0:
            return epoch * self.tokens_per_epoch("train")
        _, before = self._order(epoch)
        return epoch * self.tokens_per_epoch("train") + int(before[place - 1])

    def _judged(self, split: str, limit: int | None, cap: int | None) -> Ids:
        """The documents of an evaluation, in their order."""
        targets = self._targets[split]
        if limit is not None:
            targets = targets[: max(1, int(np.sum(targets.cumsum() <= limit)))]
        chosen = np.arange(len(targets))
        if cap is None:
            return chosen
        while len(chosen) > 1 and (count := int(targets[chosen].sum())) > cap:
            fewer = min(len(chosen) - 1, len(chosen) * cap // count)
            chosen = evenly_spaced(len(targets), max(1, fewer))
        return chosen

    def _order(self, epoch: int) -> tuple[Ids, Ids]:
        """The documents of one epoch, and the targets up to each of them and with it."""
        if epoch not in self._drawn:
            kept = list(self._drawn.items())[-1:]
            order = epoch_order(self.seed, epoch, len(self._starts["train"]))
            drawn = (order, self._targets["train"][order].cumsum())
            self._drawn = dict([*kept, (epoch, drawn)])
        return self._drawn[epoch]

    def rows_at(self, split: str, chosen: Ids) -> Batch:
        """The documents [documents, the longest of them]: IGNORE_INDEX after the end of each."""
        of_each = np.stack([self._starts[split][chosen], self._lengths[split][chosen]])
        starts, lengths = to_device(of_each, self.device)[:, :, None]  # each [documents, 1]
        offsets = torch.arange(int(of_each[1].max(initial=0)) + 1, device=self.device)
        tokens = self.tokens[split]
        rows = tokens[(starts + offsets).clamp(max=len(tokens) - 1)].long()
        padding = offsets[:-1] >= lengths  # causal models see no later token from an earlier place
        return Batch(
            rows[:, :-1].masked_fill(padding, self.end),
            rows[:, 1:].masked_fill(padding, IGNORE_INDEX),
        )
