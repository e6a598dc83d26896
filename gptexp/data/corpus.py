"""What a corpus is: its splits, its batches, and the format that a text is read in."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp.config import DataConfig
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer

SPLITS = ("train", "test", "val")
IGNORE_INDEX = -1  # the target of a padded place, where there is nothing to predict

Ids = NDArray[np.int64]
Tokens = NDArray[np.integer[Any]]  # ids in as few bytes as the vocabulary needs: see `compact`


class Batch(NamedTuple):
    """Rows of tokens, each with the token that follows it."""

    inputs: Tensor  # [rows, time]
    targets: Tensor  # [rows, time], IGNORE_INDEX where there is none


@dataclass(frozen=True)
class Splits:
    """Token ids, each of shape [tokens]; `train` is already cut to data.fraction."""

    train: Tokens
    test: Tokens
    val: Tokens
    bounds: dict[str, tuple[int, int]]  # start and end of each split, in characters or documents

    def items(self) -> Iterator[tuple[str, Tokens]]:
        """The name and the ids of each split."""
        return ((name, getattr(self, name)) for name in SPLITS)


class Corpus(Protocol):
    """The splits on the training device. Batches are pure functions of the step."""

    block_size: int
    rows: int  # sequences of one update, over all ranks
    end: int | None  # the token that ends a sample, which no context crosses; a text has none

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """The share of `rank` in the training batch of one update, at most block_size long.

        The whole batch follows from the seed and the step alone, so a resumed run needs no state of
        the data, and `world` devices train on what one would: rank r takes the rows r::world.
        """
        places = np.arange(step * self.rows, (step + 1) * self.rows)
        return self.drawn(step, places, slice(rank, None, world))

    def drawn(self, step: int, places: Ids, kept: Any) -> Batch:
        """The rows `places[kept]` of the order in which all rows come; `kept` is an index of them.

        Where rows are drawn at random, `step` draws as many as there are places.
        """

    def windows(
        self, split: str, batch_size: int, limit: int | None = None, cap: int | None = None
    ) -> Iterator[Batch]:
        """Every target of a split once, in order, in batches of at most `batch_size` rows.

        Of its first `limit` tokens alone, where that is given. With a `cap`, as many whole rows of
        these, at equal distances, as have no more targets than that; at least one.
        """

    def targets(self, split: str, limit: int | None = None, cap: int | None = None) -> int:
        """How many targets the windows of the same arguments have."""

    def tokens_per_epoch(self, split: str) -> int:
        """How many tokens one pass over the split has."""

    def rows_per_epoch(self, split: str) -> float:
        """How many rows of a batch that is: windows of a text, or documents."""

    def tokens_seen(self, step: int) -> int:
        """How many targets the first `step` updates have trained on."""
        return self.tokens_of(step * self.rows)

    def tokens_of(self, rows: int) -> int:
        """How many targets the first `rows` rows of all have."""


class Format(Protocol):
    """How a text is read: as one stream of tokens, as documents or as conversations."""

    cfg: DataConfig
    noun: ClassVar[str]  # what one row is called

    def normalise(self, text: str) -> str:
        """The text as the splits cut it."""

    def training_text(self, text: str) -> str:
        """The part of a normalised text that is trained on at data.fraction=1."""

    def split(
        self,
        text: str,
        tokenizer: Tokenizer,
        block_size: int,
        needed: Collection[str] = SPLITS,
    ) -> Splits:
        """Cut a normalised text and encode the `needed` splits; the others stay empty.

        Raises DataError where one that is needed is too short.
        """

    def describe(self, text: str, tokenizer: Tokenizer, splits: Splits, block_size: int) -> str:
        """The content of the splits, in words."""

    def end(self, tokenizer: Tokenizer) -> int | None:
        """The token that ends a sample, which no context crosses, if there is one."""

    def stop(self, tokenizer: Tokenizer) -> int | None:
        """The token that ends a sample, whether contexts cross it or not, if there is one."""
        return self.end(tokenizer)

    def halves(self, ids: Tokens, tokenizer: Tokenizer, place: int) -> tuple[Tokens, Tokens]:
        """A split cut in two at `place`, or before it where rows are not to be cut."""
        return ids[:place], ids[place:]

    def target_mask(self, ids: Tokens, tokenizer: Tokenizer, block_size: int) -> NDArray[np.bool_]:
        """Which of `ids` [tokens], of one split, an evaluation predicts."""

    def prompt(self, text: str | None, tokenizer: Tokenizer) -> Ids:
        """The ids from which a sample goes on; raises DataError for what cannot begin one."""

    def enclose(self, text: str) -> str:
        """A whole text of a reader as it would stand in the corpus; raises DataError."""
        return text

    def excerpt(self, val: Tokens, tokenizer: Tokenizer, tokens: int) -> Tokens:
        """The first of a validation split that can be read by itself: a document, or `tokens`."""

    def join(self, texts: list[str]) -> str:
        """Several samples as one text."""

    def questions(self, val: Tokens, tokenizer: Tokenizer, block_size: int) -> list[Ids]:
        """What samples of a training answer: validation conversations up to their first answers.

        Those that the context holds; none but of conversations, where samples begin by themselves.
        """
        return []

    def shown(self, text: str) -> str:
        """A text of the format as people read it."""
        return text

    def corpus(
        self,
        splits: Splits,
        tokenizer: Tokenizer,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
    ) -> Corpus:
        """The splits on `device`, in updates of `rows` sequences."""


def judged(corpus: Corpus, cap: int | None) -> dict[str, int]:
    """The targets of an evaluation by split: of train at most as many tokens as val has."""
    limit = corpus.tokens_per_epoch("val")
    return {"train": corpus.targets("train", limit, cap), "val": corpus.targets("val", cap=cap)}


def is_capped(corpus: Corpus, cap: int | None) -> bool:
    """Whether an evaluation leaves out targets that an exact one has; of val, if of any split."""
    return corpus.targets("val", cap=cap) < corpus.targets("val")


def evenly_spaced(count: int, chosen: int) -> Ids:
    """So many of the indices below `count`, each in the middle of an equal part of them."""
    return (2 * np.arange(chosen) + 1) * count // (2 * chosen)


@lru_cache(maxsize=4)  # a batch may reach over the end of an epoch, and an evaluation draws none
def epoch_order(seed: int, epoch: int, count: int) -> Ids:
    """The numbers below `count`, in an order that is drawn for each epoch."""
    key = stream_seed(seed, "data", 0, epoch)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(count)
    order.flags.writeable = False  # all who ask share it
    return order


def compact(ids: Ids, vocab_size: int) -> Tokens:
    """A copy in the smallest integers that hold the vocabulary: one byte for each character.

    Sums and products of them overflow; a batch is widened.
    """
    kinds = (np.uint8, np.int16, np.int32)
    kind = next((kind for kind in kinds if vocab_size <= np.iinfo(kind).max + 1), np.int64)
    return ids.astype(kind)


def to_device(indices: Ids, device: torch.device) -> Tensor:
    """A copy that the host does not wait for: on CUDA it starts from pinned memory."""
    tensor = torch.from_numpy(indices)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
