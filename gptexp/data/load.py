"""The corpus that a config names: its file, read and checked, and cut into splits.

The order is train, test, validation. Validation is the last part, as in nanoGPT; test is cut from
the end of what is left; `data.fraction` keeps a prefix of the training part. So the smaller
training sets of a sweep are nested in the larger ones, and all are judged on the same text.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch

from gptexp.config import Config, DataConfig
from gptexp.data import documents
from gptexp.data.corpus import SPLITS, Corpus, Splits
from gptexp.data.documents import DocumentCorpus
from gptexp.data.read import read_text
from gptexp.data.text import TextCorpus, _check_lengths, bigrams
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import build_tokenizer


@dataclass(frozen=True)
class LoadedText:
    """What a config's corpus turned out to be."""

    config: Config
    text: str
    tokenizer: Tokenizer
    splits: Splits

    def corpus(self, device: torch.device) -> Corpus:
        """The splits on `device`, as batches of a text or of documents."""
        given = (self.splits, self.config.model.block_size, self.config.seed, device)
        if self.config.data.documents:
            return DocumentCorpus(*given, boundary=documents.boundary(self.tokenizer))
        return TextCorpus(*given)

    def describe(self) -> str:
        """One line: what was found."""
        return describe_text(
            self.config.data,
            self.text,
            self.tokenizer,
            self.splits,
            self.config.model.block_size,
        )


def load_corpus(config: Config, sha256: str | None = None) -> LoadedText:
    """Read the corpus, which has that digest where one is given, and cut it; raises DataError."""
    text = read_text(config.data, sha256)
    tokenizer = build_tokenizer(config.tokenizer, text, documents=config.data.documents)
    splits = split_text(text, config.data, tokenizer, config.model.block_size)
    return LoadedText(config, text, tokenizer, splits)


def split_text(
    text: str,
    data: DataConfig,
    tokenizer: Tokenizer,
    block_size: int,
    needed: Collection[str] = SPLITS,
) -> Splits:
    """Cut `text` by characters, then encode each part; documents are cut between two of them.

    Raises DataError where one of the parts that are needed is too short.
    """
    if data.documents:
        return documents.split(text, data, tokenizer, needed)
    val_start = int(len(text) * (1 - data.val_fraction))
    test_start = int(len(text) * (1 - data.val_fraction - data.test_fraction))
    if data.test_fraction == 0:
        test_start = val_start
    bounds = {
        "train": (0, test_start),
        "test": (test_start, val_start),
        "val": (val_start, len(text)),
    }
    ids = {name: tokenizer.encode(text[start:end]) for name, (start, end) in bounds.items()}
    train = ids["train"][: int(len(ids["train"]) * data.fraction)]
    splits = Splits(train, ids["test"], ids["val"], bounds)
    _check_lengths(splits, data, block_size, needed)
    return splits


def describe_text(
    data: DataConfig, text: str, tokenizer: Tokenizer, splits: Splits, block_size: int
) -> str:
    """One line: what was found."""
    ids = tokenizer.encode(text)
    if data.documents:
        parts = documents.describe(text, tokenizer, splits, block_size)
    else:
        test = f", {len(splits.test):,} test" if len(splits.test) else ""
        parts = f"{len(splits.train):,} train{test}, {len(splits.val):,} val"
    return (
        f"{data.path or data.asset}: {len(text):,} characters, {len(ids):,} tokens of "
        f"{tokenizer.describe()}; {parts}; "
        f"{bigrams(ids, tokenizer.vocab_size):,} of {tokenizer.vocab_size**2:,} bigrams occur"
    )
