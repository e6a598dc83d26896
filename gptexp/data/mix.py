"""Several corpora as one: each row of a batch is of one part, by fixed shares."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gptexp.data.corpus import IGNORE_INDEX, Batch, Corpus, Ids
from gptexp.runtime.random import stream_seed

BLOCK = 2**16  # rows in which each part has its share exactly, as nearly as whole rows have it


class Turns:
    """Which part each row of training is of, by the row's number and the seed alone.

    Rows come in blocks of BLOCK. Each part has the same number of rows in all of them, in an order
    that is drawn for each, so that the rows of a part before any other are counted at once.
    """

    def __init__(self, shares: list[float], seed: int) -> None:
        self.seed = seed
        exact = np.array(shares) * BLOCK
        counts = np.floor(exact).astype(np.int64)
        lacking = np.argsort(counts - exact, kind="stable")  # who lacks most of a row comes first
        counts[lacking[: BLOCK - counts.sum()]] += 1
        counts = np.maximum(counts, 1)  # so that each share above 0 has its turn
        counts[counts.argmax()] -= counts.sum() - BLOCK
        self.counts: Ids = counts  # [parts]

    def of_rows(self, first: int, rows: int) -> Ids:
        """The number of the part of each of so many rows, [rows]."""
        blocks, places = np.divmod(np.arange(first, first + rows), BLOCK)
        turns = np.empty(rows, np.int64)
        for block in np.unique(blocks):
            chosen = blocks == block
            turns[chosen] = self._block(int(block))[places[chosen]]
        return turns

    def before(self, row: int) -> Ids:
        """How many of the rows before that one are of each part, [parts]."""
        block, place = divmod(row, BLOCK)
        begun = np.bincount(self._block(block)[:place], minlength=len(self.counts))
        return block * self.counts + begun

    def _block(self, block: int) -> Ids:
        return _drawn_block(self.seed, tuple(self.counts.tolist()), block)


@lru_cache(maxsize=4)
def _drawn_block(seed: int, counts: tuple[int, ...], block: int) -> Ids:
    generator = np.random.Generator(np.random.Philox(key=stream_seed(seed, "mix", block)))
    turns = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    turns.flags.writeable = False  # all who ask share it
    return turns


class MixCorpus(Corpus):
    """Corpora of one vocabulary; those with a share of 0 are judged, and never trained on."""

    def __init__(
        self, parts: Mapping[str, Corpus], shares: Mapping[str, float], rows: int, seed: int
    ) -> None:
        self.parts, self.shares, self.rows = parts, shares, rows
        self.trained = [name for name in parts if shares[name] > 0]
        first = parts[self.trained[0]]
        self.block_size, self.end = first.block_size, first.end
        self._turns = Turns([shares[name] for name in self.trained], seed)

    def drawn(self, step: int, places: Ids, kept: Any) -> Batch:
        """Raises ValueError for places that do not follow each other."""
        if len(places) and places[-1] - places[0] != len(places) - 1:
            raise ValueError("rows of a mix come one after another")
        first = int(places[0]) if len(places) else 0
        turns, before = self._turns.of_rows(first, len(places)), self._turns.before(first)
        is_kept = np.zeros(len(places), bool)
        is_kept[kept] = True
        batches: list[Batch] = []
        rows: list[Ids] = []
        for number, name in enumerate(self.trained):
            [own] = np.nonzero(turns == number)
            chosen = is_kept[own]
            # A part without a row has no say, unless none has one.
            if chosen.any() or (not is_kept.any() and not batches):
                of_part = before[number] + np.arange(len(own))
                batches.append(self.parts[name].drawn(step, of_part, chosen))
                rows.append(own[chosen])
        return _joined(batches, np.concatenate(rows), self.end or 0)

    def windows(
        self, split: str, batch_size: int, limit: int | None = None, cap: int | None = None
    ) -> Iterator[Batch]:
        """Those of one part after another: see `portions`."""
        for name, *portion in self.portions(split, limit, cap):
            yield from self.parts[name].windows(split, batch_size, *portion)

    def portions(
        self, split: str, limit: int | None = None, cap: int | None = None
    ) -> Iterator[tuple[str, int | None, int | None]]:
        """The parts that are judged, each with its own limit and cap.

        Of training those with a share. A limit is divided as the validation splits are, so that of
        training as much is judged as of validation, part by part; a cap is divided evenly.
        """
        judged = self.trained if split == "train" else list(self.parts)
        whole = self.tokens_per_epoch("val")
        for name in judged:
            own = self.parts[name].tokens_per_epoch("val")
            yield (
                name,
                None if limit is None else limit * own // whole,
                None if cap is None else max(1, cap // len(judged)),
            )

    def targets(self, split: str, limit: int | None = None, cap: int | None = None) -> int:
        portions = self.portions(split, limit, cap)
        return sum(self.parts[name].targets(split, *portion) for name, *portion in portions)

    def tokens_per_epoch(self, split: str) -> int:
        names = self.trained if split == "train" else self.parts
        return sum(self.parts[name].tokens_per_epoch(split) for name in names)

    def rows_per_epoch(self, split: str) -> float:
        names = self.trained if split == "train" else self.parts
        return sum(self.parts[name].rows_per_epoch(split) for name in names)

    def tokens_of(self, rows: int) -> int:
        before = self._turns.before(rows).tolist()
        return sum(
            self.parts[name].tokens_of(own) for name, own in zip(self.trained, before, strict=True)
        )

    def epochs(self, step: int) -> dict[str, float]:
        """How often the first `step` updates have been through each part that is trained on."""
        before = self._turns.before(step * self.rows).tolist()
        return {
            name: self.parts[name].tokens_of(own) / self.parts[name].tokens_per_epoch("train")
            for name, own in zip(self.trained, before, strict=True)
        }


def epochs_of_parts(corpus: Corpus, step: int) -> dict[str, float]:
    """The curves `epoch/PART` of a mix; none of another corpus."""
    if not isinstance(corpus, MixCorpus):
        return {}
    return {f"epoch/{name}": epochs for name, epochs in corpus.epochs(step).items()}


def _joined(batches: list[Batch], rows: Ids, end: int) -> Batch:
    """The batches as one, in the order of `rows` [rows]; shorter ones are padded."""
    if len(batches) == 1:  # whose rows are in order
        return batches[0]
    width = max(batch.inputs.shape[1] for batch in batches)
    order = torch.from_numpy(np.argsort(rows)).to(batches[0].inputs.device)
    padded = [
        [F.pad(part, (0, width - part.shape[1]), value=value) for part in parts]
        for parts, value in zip(zip(*batches, strict=True), (end, IGNORE_INDEX), strict=True)
    ]
    inputs, targets = (torch.cat(parts)[order] for parts in padded)
    return Batch(inputs, targets)
