"""One long text: split by characters, batches of windows drawn at random."""

from collections.abc import Collection, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp.config import DataConfig
from gptexp.data.corpus import Corpus, Splits
from gptexp.errors import DataError, Problem
from gptexp.runtime.random import stream_seed


class TextCorpus(Corpus):
    """One long text: a batch is drawn at random, a context begins anywhere."""

    def __init__(self, splits: Splits, block_size: int, seed: int, device: torch.device) -> None:
        super().__init__(splits, block_size, seed, device)
        self._offsets = torch.arange(block_size + 1, device=device)

    def size(self, name: str) -> int:
        return self.tokens[name].numel()

    def sequences(self, name: str) -> float:
        return self.size(name) / self.block_size

    def judged(self, name: str) -> NDArray[np.bool_]:
        return np.arange(self.size(name)) > 0

    def trained(self, step: int, sequences: int) -> int:
        return step * sequences * self.block_size

    def batch(self, name: str, step: int, sequences: int, rank: int = 0) -> tuple[Tensor, Tensor]:
        tokens = self.tokens[name]
        key = stream_seed(self.seed, "data", rank, step)
        generator = np.random.Generator(np.random.Philox(key=key))
        drawn = generator.integers(0, tokens.numel() - self.block_size, size=sequences)
        starts = self.to_device(drawn)[:, None]
        rows = tokens[starts + self._offsets]  # [sequences, block_size + 1]
        return rows[:, :-1], rows[:, 1:]

    def windows(
        self, name: str, batch_size: int, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows do not overlap; what is left over comes last, as one shorter window [1, rest]."""
        tokens = self.tokens[name][:limit]
        inputs, targets = tokens[:-1], tokens[1:]
        full = len(targets) // self.block_size * self.block_size
        if full:
            rows = (part[:full].view(-1, self.block_size) for part in (inputs, targets))
            yield from zip(*(part.split(batch_size) for part in rows), strict=True)
        if full < len(targets):
            yield inputs[None, full:], targets[None, full:]


def bigrams(ids: NDArray[np.int64], vocab_size: int) -> int:
    """How many different pairs of neighbouring tokens occur."""
    pairs = ids[:-1] * vocab_size + ids[1:]
    if vocab_size**2 > len(pairs):
        return len(np.unique(pairs))
    return int(np.count_nonzero(np.bincount(pairs)))  # ten times as fast as sorting


def _check_lengths(
    splits: Splits, data: DataConfig, block_size: int, needed: Collection[str]
) -> None:
    parts = {"train": splits.train, "val": splits.val}
    if data.test_fraction:
        parts["test"] = splits.test
    parts = {name: ids for name, ids in parts.items() if name in needed}
    shortest = min(len(ids) for ids in parts.values())
    problems = []
    for name, ids in parts.items():
        if len(ids) > block_size:
            continue
        need = f"{block_size} needs {block_size + 1} tokens in each split"
        if name == "train" and data.fraction < 1:
            fix = f"a larger data.fraction, now {data.fraction:g}, or a longer text"
        elif shortest >= 2:
            fix = f"model.block_size={shortest - 1} at most, or a longer text"
        else:
            fix = "a longer text, or another data.fraction and data.val_fraction"
        problems.append(Problem("model.block_size", f"{need}, and {name} has {len(ids)}", fix))
    if problems:
        raise DataError(*problems)
