"""Documents, one a line: a context begins at each one's start and never reaches into the next.

A line break before each document and after it is the token that microGPT calls BOS: from it the
first character is predicted, and it is what follows the last one. So a list of documents is a text
that begins and ends with a line break, and a split's ids are those of such a text.
"""

from collections.abc import Collection, Iterator
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp.config import DataConfig
from gptexp.data.corpus import IGNORE_INDEX, SPLITS, Corpus, Splits
from gptexp.errors import DataError, Problem
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer

BOUNDARY = "\n"

Order = tuple[NDArray[np.int64], NDArray[np.int64]]

ORDER_SEED = 0  # of every run: whatever its seed, a run is judged on the same documents


def normalised(text: str, shuffle: bool, where: str) -> str:
    """Each line without the white space around it; empty ones are dropped.

    Raises DataError for less than two documents.
    """
    lines = [line for line in map(str.strip, text.split(BOUNDARY)) if line]
    if len(lines) < 2:
        raise DataError(
            Problem(
                where,
                "holds one document, and training and validation each need one",
                "a file with one document a line, or data=text for a text",
            )
        )
    if shuffle:
        key = stream_seed(ORDER_SEED, "documents")
        order = np.random.Generator(np.random.Philox(key=key)).permutation(len(lines))
        lines = [lines[i] for i in order]
    return BOUNDARY + BOUNDARY.join(lines) + BOUNDARY


def split(
    text: str, data: DataConfig, tokenizer: Tokenizer, needed: Collection[str] = SPLITS
) -> Splits:
    """Cut a normalised text between documents; raises DataError for a needed part without any."""
    ids = tokenizer.encode(text)
    edges = np.flatnonzero(ids == boundary(tokenizer))  # one more than there are documents
    count = len(edges) - 1
    # Of the decimals as they were typed: 10 (1 - 0.3 - 0.2) is below 5 in binary fractions.
    val, test, fraction = (
        Fraction(repr(share)) for share in (data.val_fraction, data.test_fraction, data.fraction)
    )
    val_start, test_start = int(count * (1 - val)), int(count * (1 - val - test))
    bounds = {"train": (0, test_start), "test": (test_start, val_start), "val": (val_start, count)}
    kept = bounds | {"train": (0, int(test_start * fraction))}
    _check(kept, data, needed)
    parts = {
        name: ids[edges[start] : edges[end] + 1] if end > start else ids[:0]
        for name, (start, end) in kept.items()
    }
    return Splits(parts["train"], parts["test"], parts["val"], bounds)


def describe(text: str, tokenizer: Tokenizer, splits: Splits, block_size: int) -> str:
    """What was found: counts, repeats within and across the splits, and what is cut."""
    lines = text.strip(BOUNDARY).split(BOUNDARY)
    token = boundary(tokenizer)
    train, test, val = (
        max(int(np.count_nonzero(part == token)) - 1, 0)
        for part in (splits.train, splits.test, splits.val)
    )
    seen = set(lines[:train])
    start, end = splits.bounds["val"]
    twice = sum(line in seen for line in lines[start:end])
    words = (
        f"{len(lines):,} documents ({len(lines) - len(set(lines)):,} repeat another); "
        f"{train:,} train{f', {test:,} test' if test else ''}, {val:,} val, "
        f"{twice:,} of them in train too"
    )
    lengths = np.diff(np.flatnonzero(tokenizer.encode(text) == token))
    cut = int(np.count_nonzero(lengths > block_size))
    return words + (f"; {cut:,} longer than block_size are cut there" if cut else "")


def boundary(tokenizer: Tokenizer) -> int:
    """The id of BOUNDARY."""
    [token] = tokenizer.encode(BOUNDARY).tolist()
    return int(token)


class DocumentCorpus(Corpus):
    """Whole documents, in an order that is drawn anew in each epoch; shorter ones are padded.

    A document has a target for each of its tokens and one for its end, of which the first
    block_size count, as in microGPT.
    """

    def __init__(
        self,
        splits: Splits,
        block_size: int,
        seed: int,
        device: torch.device,
        boundary: int,
    ) -> None:
        super().__init__(splits, block_size, seed, device)
        self.boundary: int = boundary
        self._starts, self._lengths = {}, {}  # of each document: where it begins, its targets
        for name, ids in {"train": splits.train, "test": splits.test, "val": splits.val}.items():
            edges = np.flatnonzero(ids == boundary)
            self._starts[name] = edges[:-1]
            self._lengths[name] = np.minimum(np.diff(edges), block_size)
        self._sizes = {name: int(lengths.sum()) for name, lengths in self._lengths.items()}
        self._drawn: dict[tuple[str, int, int], Order] = {}  # of the last two epochs asked for

    def size(self, name: str) -> int:
        return self._sizes[name]

    def sequences(self, name: str) -> float:
        return len(self._starts[name])

    def trained(self, step: int, sequences: int) -> int:
        epoch, place = divmod(step * sequences, len(self._starts["train"]))
        if place == 0:
            return epoch * self.size("train")
        _, before = self._order("train", 0, epoch)
        return epoch * self.size("train") + int(before[place - 1])

    def batch(self, name: str, step: int, sequences: int, rank: int = 0) -> tuple[Tensor, Tensor]:
        places = np.arange(step * sequences, (step + 1) * sequences)
        epochs, places = np.divmod(places, len(self._starts[name]))
        chosen = [
            self._order(name, rank, int(epoch))[0][places[epochs == epoch]]
            for epoch in np.unique(epochs)
        ]
        return self._rows(name, np.concatenate(chosen))

    def windows(
        self, name: str, batch_size: int, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A row is a document; `limit` keeps the first whole ones, at least one."""
        count = len(self._starts[name])
        if limit is not None:
            count = min(count, max(1, int(np.sum(self._lengths[name].cumsum() <= limit))))
        for start in range(0, count, batch_size):
            yield self._rows(name, np.arange(start, min(start + batch_size, count)))

    def judged(self, name: str) -> NDArray[np.bool_]:
        tokens = np.zeros(len(self.tokens[name]) + 1, np.int64)
        # One more target begins after each document's start, and ends after its last target.
        np.add.at(tokens, self._starts[name] + 1, 1)
        np.add.at(tokens, self._starts[name] + self._lengths[name] + 1, -1)
        return tokens[:-1].cumsum() > 0

    def _order(self, name: str, rank: int, epoch: int) -> Order:
        """The documents of one epoch, and the targets up to each of them and with it."""
        asked = (name, rank, epoch)
        if asked not in self._drawn:
            kept = list(self._drawn.items())[-1:]
            self._drawn = dict([*kept, (asked, self._draw(*asked))])
        return self._drawn[asked]

    def _draw(self, name: str, rank: int, epoch: int) -> Order:
        key = stream_seed(self.seed, "data", rank, epoch)
        generator = np.random.Generator(np.random.Philox(key=key))
        order = generator.permutation(len(self._starts[name]))
        return order, self._lengths[name][order].cumsum()

    def _rows(self, name: str, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs and targets [documents, the longest of them]: NO_TARGET after the end of each."""
        of_each = np.stack([self._starts[name][chosen], self._lengths[name][chosen]])
        starts, lengths = self.to_device(of_each)[:, :, None]  # each [documents, 1]
        offsets = torch.arange(int(of_each[1].max()) + 1, device=self.device)
        tokens = self.tokens[name]
        rows = tokens[(starts + offsets).clamp(max=len(tokens) - 1)]
        padding = offsets[:-1] >= lengths  # causal models see no later token from an earlier place
        return rows[:, :-1].masked_fill(padding, self.boundary), rows[:, 1:].masked_fill(
            padding, IGNORE_INDEX
        )


def _check(kept: dict[str, tuple[int, int]], data: DataConfig, needed: Collection[str]) -> None:
    """That no part is without a document; validation never is, having more than 0 of them."""
    problems = []
    for name, key in {"train": "fraction", "test": "test_fraction"}.items():
        start, end = kept[name]
        if end > start or name not in needed or (name == "test" and not data.test_fraction):
            continue
        fix = "a larger"
        if name == "train" and kept["test"][0] == 0:  # the others took all
            key, fix = "val_fraction", "a smaller"
            if data.test_fraction > data.val_fraction:
                key = "test_fraction"
        problems.append(
            Problem(
                f"data.{key}",
                f"{getattr(data, key)} leaves no document for {name}, of {kept['val'][1]}",
                f"{fix} data.{key}, or more documents",
            )
        )
    if problems:
        raise DataError(*problems)
