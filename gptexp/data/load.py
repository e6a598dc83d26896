"""The corpus that a config names: its file read, tokenized and cut into splits.

The order is train, test, validation. Validation is the last part, as in nanoGPT; test is cut from
the end of what is left; `data.fraction` keeps a prefix of the training part. So the smaller
training sets of a sweep are nested in the larger ones, and all are judged on the same text.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch

from gptexp.config import DataConfig, TokenizerConfig
from gptexp.data.corpus import SPLITS, Corpus, Format, Ids, Splits
from gptexp.data.documents import Documents
from gptexp.data.read import read_text, source
from gptexp.data.text import Text
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import build_tokenizer


def format_of(data: DataConfig) -> Format:
    """The format in which the text of the config is read: the one place that asks."""
    return Documents(data) if data.documents else Text(data)


def read_corpus(data: DataConfig, sha256: str | None = None) -> str:
    """The text of the corpus, which has that digest where one is given, as its format cuts it.

    Raises DataError.
    """
    return format_of(data).normalise(read_text(data, sha256))


@dataclass(frozen=True)
class LoadedText:
    """A corpus file, read, tokenized and cut."""

    source: str  # the file or the asset
    format: Format
    text: str
    tokenizer: Tokenizer
    splits: Splits
    block_size: int

    def corpus(self, rows: int, seed: int, device: torch.device) -> Corpus:
        """The splits on `device`, in updates of `rows` sequences."""
        return self.format.corpus(self.splits, self.tokenizer, self.block_size, rows, seed, device)

    def describe(self) -> str:
        """One line: what was found."""
        ids, vocab_size = self.tokenizer.encode(self.text), self.tokenizer.vocab_size
        parts = self.format.describe(self.text, self.tokenizer, self.splits, self.block_size)
        return (
            f"{self.source}: {len(self.text):,} characters, {len(ids):,} tokens of "
            f"{self.tokenizer.describe()}; {parts}; "
            f"{bigrams(ids, vocab_size):,} of {vocab_size**2:,} bigrams occur"
        )


def load_corpus(
    data: DataConfig, tokenizer: TokenizerConfig, block_size: int, sha256: str | None = None
) -> LoadedText:
    """Read the corpus, which has that digest where one is given, and cut it; raises DataError."""
    text = read_corpus(data, sha256)
    reading = format_of(data)
    built = build_tokenizer(tokenizer, text, reading.characters(text), reading.training_text(text))
    return split_corpus(data, text, built, block_size)


def split_corpus(
    data: DataConfig,
    text: str,
    tokenizer: Tokenizer,
    block_size: int,
    needed: Collection[str] = SPLITS,
) -> LoadedText:
    """Cut what read_corpus gave, in a vocabulary that is known; raises DataError."""
    reading = format_of(data)
    splits = reading.split(text, tokenizer, block_size, needed)
    return LoadedText(source(data), reading, text, tokenizer, splits, block_size)


def whole_text(data: DataConfig, text: str, tokenizer: Tokenizer, block_size: int) -> LoadedText:
    """All of what read_corpus gave as the validation split, to be judged in windows of block_size.

    The last window, and with it the whole, may be shorter. Raises DataError.
    """
    data = replace(data, val_fraction=1.0, test_fraction=0.0)
    cut = split_corpus(data, text, tokenizer, 1, needed=("val",))
    return replace(cut, block_size=block_size)


def bigrams(ids: Ids, vocab_size: int) -> int:
    """The number of different pairs of neighbouring tokens that occur."""
    pairs = ids[:-1] * vocab_size + ids[1:]
    if vocab_size**2 > len(pairs):
        return len(np.unique(pairs))
    return int(np.count_nonzero(np.bincount(pairs)))  # ten times as fast as sorting
