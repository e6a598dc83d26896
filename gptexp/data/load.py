"""The corpus that a config names: its file read, tokenized and cut into splits.

The order is train, test, validation. Validation is the last part, as in nanoGPT; test is cut from
the end of what is left; `data.fraction` keeps a prefix of the training part. So the smaller
training sets of a sweep are nested in the larger ones, and all are judged on the same text.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch

from gptexp.config import DataConfig, TokenizerConfig
from gptexp.data.characters import characters, of_all
from gptexp.data.chat import Chats
from gptexp.data.corpus import SPLITS, Corpus, Format, Ids, Splits
from gptexp.data.documents import Documents
from gptexp.data.mix import MixCorpus
from gptexp.data.parts import parts_of, shares
from gptexp.data.read import corpus_digest, read_text, source
from gptexp.data.shards import TokenFiles, find_token_files
from gptexp.data.text import Text
from gptexp.data.token_file import (
    COUNTED,
    PIECES,
    Stream,
    TokenFileCorpus,
    TokenStream,
    check_documents,
    check_vocabulary,
    cut_tokens,
    ended,
    tokenizer_of,
)
from gptexp.errors import DataError, Problem
from gptexp.runtime.random import stream_seed
from gptexp.text import plural
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import build_tokenizer
from gptexp.tokenizers.ids import TokenIds


def format_of(data: DataConfig) -> Format:
    """The format in which the text of the config is read: the one place that asks.

    Token files have none; what a reader gives in their stead is a text.
    """
    if data.tokens:
        return TokenStream(data)
    if data.chat:
        return Chats(data)
    return Documents(data) if data.documents else Text(data)


# Of a corpus: its text, files of tokens that are not read yet, or the text of each part of a mix.
Content = str | TokenFiles | dict[str, str]


def read_corpus(data: DataConfig, sha256: str | None = None) -> Content:
    """What a corpus holds, which has that digest where one is given; a text as its format cuts it.

    Raises DataError.
    """
    if data.parts:
        if sha256 not in (None, corpus_digest(data)):
            raise _changed(data)
        return {
            name: format_of(part).normalise(read_text(part))
            for name, part in parts_of(data).items()
        }
    if not data.tokens:
        return format_of(data).normalise(read_text(data, sha256))
    files = find_token_files(data)
    if sha256 not in (None, files.digest()):
        raise _changed(data)
    return files


def _changed(data: DataConfig) -> DataError:
    what = "changed while the run was starting"
    return DataError(Problem(source(data), what, "start it again"))


def boundary_of(data: DataConfig, tokenizer: Tokenizer) -> int | None:
    """The token that begins a document for a model that is to tell them apart, if it is.

    In the files it ends each one. As what a model reads it is the first of the next, which is
    predicted from it alone.
    """
    return tokenizer.end_of_text if data.mask_documents else None


@dataclass(frozen=True)
class LoadedCorpus(ABC):
    """A corpus, read, tokenized and cut."""

    source: str  # the file or the asset
    format: Format
    tokenizer: Tokenizer
    splits: Splits
    block_size: int

    @property
    def counted(self) -> int | None:
        """How many tokens of a split n-grams take, the first of it; None where they take all."""
        return None

    @property
    def boundary(self) -> int | None:
        """The token that begins a document whose tokens see no other one: see Model.documents."""
        return None

    @abstractmethod
    def corpus(self, rows: int, seed: int, device: torch.device) -> Corpus:
        """The splits on `device`, in updates of `rows` sequences."""

    @abstractmethod
    def describe(self) -> str:
        """One line: what was found."""


@dataclass(frozen=True)
class LoadedText(LoadedCorpus):
    """A corpus file that is a text."""

    text: str

    def corpus(self, rows: int, seed: int, device: torch.device) -> Corpus:
        return self.format.corpus(self.splits, self.tokenizer, self.block_size, rows, seed, device)

    def describe(self) -> str:
        ids, vocab_size = self.tokenizer.encode(self.text), self.tokenizer.vocab_size
        parts = self.format.describe(self.text, self.tokenizer, self.splits, self.block_size)
        return (
            f"{self.source}: {len(self.text):,} characters, {len(ids):,} tokens of "
            f"{self.tokenizer.describe()}; {parts}; "
            f"{bigrams(ids, vocab_size):,} of {vocab_size**2:,} bigrams occur"
        )


@dataclass(frozen=True)
class LoadedTokens(LoadedCorpus):
    """Token files; in `splits` the beginning of training alone, and what is judged."""

    data: DataConfig
    files: TokenFiles
    train: Stream

    @property
    def counted(self) -> int | None:
        return COUNTED if max(len(self.train), len(self.splits.val)) > COUNTED else None

    @property
    def boundary(self) -> int | None:
        return boundary_of(self.data, self.tokenizer)

    def corpus(self, rows: int, seed: int, device: torch.device) -> Corpus:
        judged = {"test": self.splits.test, "val": self.splits.val}
        sizes = (self.tokenizer.vocab_size, self.block_size, rows)
        return TokenFileCorpus(self.train, judged, *sizes, seed, device, self.data.sampling)

    def describe(self) -> str:
        total = sum(shard.tokens for shard in self.files.shards)
        shards = plural(len(self.files.shards), "shard")
        parts = [f"{len(self.train):,} train", *map(self._judged, ("test", "val"))]
        words = f"{self.source}: {shards}, {total:,} tokens of {self.tokenizer.describe()}"
        if (
            self.files.manifest is None
            and self.data.vocab_size is None
            and isinstance(self.tokenizer, TokenIds)
        ):
            words += " (GPT-2's number: nothing says theirs; data.vocab_size=N does)"
        return f"{words}; {', '.join(filter(None, parts))}"

    def _judged(self, split: str) -> str:
        """How many tokens a split has, and how many of them are judged."""
        start, end = self.splits.bounds[split]
        judged = len(getattr(self.splits, split))
        words = f"{end - start:,} {split}" if end > start else ""
        if judged == end - start:
            return words
        return f"{words} of which {judged:,} in {PIECES} pieces evenly spread are judged"


@dataclass(frozen=True)
class LoadedMix(LoadedCorpus):
    """Several corpora, each cut by itself; `splits` are of all, one after another."""

    parts: dict[str, LoadedCorpus]
    texts: dict[str, str]
    shares: dict[str, float]

    def corpus(self, rows: int, seed: int, device: torch.device) -> Corpus:
        parts = {
            name: replace(part, block_size=self.block_size).corpus(
                rows, stream_seed(seed, f"part/{name}"), device
            )
            for name, part in self.parts.items()
        }
        return MixCorpus(parts, self.shares, rows, seed)

    def describe(self) -> str:
        words = (
            f"{name} {self.shares[name]:.1%} of training: "
            + part.format.describe(self.texts[name], self.tokenizer, part.splits, self.block_size)
            for name, part in self.parts.items()
        )
        return f"{'; '.join(words)}; {self.tokenizer.describe()}"


def load_corpus(
    data: DataConfig, tokenizer: TokenizerConfig, block_size: int, sha256: str | None = None
) -> LoadedCorpus:
    """Read the corpus, which has that digest where one is given, and cut it; raises DataError.

    What is learned from a mix is learned from the training texts of all parts, each once.
    """
    content = read_corpus(data, sha256)
    if isinstance(content, TokenFiles):
        return split_corpus(data, content, tokenizer_of(content, data, tokenizer), block_size)
    texts = _texts(data, content)
    whole = "".join(text for _, text in texts)
    learned_from = "".join(format_of(part).training_text(text) for part, text in texts)
    built = build_tokenizer(tokenizer, whole, characters_of(data, content), learned_from)
    return split_corpus(data, content, built, block_size)


def characters_of(data: DataConfig, content: str | dict[str, str]) -> str:
    """The characters of the vocabulary of a text or a mix, in the order of their ids."""
    of_parts = [characters(part, text) for part, text in _texts(data, content)]
    return of_all(data, of_parts) if data.parts else of_parts[0]


def _texts(data: DataConfig, content: str | dict[str, str]) -> list[tuple[DataConfig, str]]:
    """The one text of a corpus, or those of a mix, each with its section."""
    if isinstance(content, str):
        return [(data, content)]
    return [(part, content[name]) for name, part in parts_of(data).items()]


def split_corpus(
    data: DataConfig,
    content: Content,
    tokenizer: Tokenizer,
    block_size: int,
    needed: Collection[str] = SPLITS,
) -> LoadedCorpus:
    """Cut what read_corpus gave, in a vocabulary that is known; raises DataError."""
    if isinstance(content, dict):
        of_mix = {
            name: split_corpus(part, content[name], tokenizer, block_size, needed)
            for name, part in parts_of(data).items()
        }
        return _mixed(data, content, tokenizer, of_mix)
    reading = format_of(data)
    if isinstance(content, TokenFiles):
        check_vocabulary(content, data, tokenizer)
        tokenizer = ended(content, tokenizer)
        check_documents(content, data, tokenizer)
        cut = cut_tokens(content, data, block_size, needed)
        parts = (source(data), reading, tokenizer, cut.arrays, block_size)
        return LoadedTokens(*parts, data, content, cut.streams["train"])
    splits = reading.split(content, tokenizer, block_size, needed)
    return LoadedText(source(data), reading, tokenizer, splits, block_size, content)


def _mixed(
    data: DataConfig, content: dict[str, str], tokenizer: Tokenizer, parts: dict[str, LoadedCorpus]
) -> LoadedMix:
    """The parts of a mix, cut, as one."""
    joined = {
        split: np.concatenate([getattr(part.splits, split) for part in parts.values()])
        for split in SPLITS
    }
    bounds = {
        f"{name}/{split}": ends
        for name, part in parts.items()
        for split, ends in part.splits.bounds.items()
    }
    block_size = next(iter(parts.values())).block_size
    splits = Splits(**joined, bounds=bounds)
    common = (source(data), format_of(data), tokenizer, splits, block_size)
    return LoadedMix(*common, parts, content, shares(data))


def whole_corpus(
    data: DataConfig, content: Content, tokenizer: Tokenizer, block_size: int
) -> LoadedCorpus:
    """All of what read_corpus gave as the validation split, to be judged in windows of block_size.

    The last window, and with it the whole, may be shorter. Raises DataError.
    """
    if isinstance(content, dict):
        parts = {
            name: whole_corpus(part, content[name], tokenizer, block_size)
            for name, part in parts_of(data).items()
        }
        return _mixed(data, content, tokenizer, parts)
    data = replace(data, val_fraction=1.0, test_fraction=0.0)
    if isinstance(content, TokenFiles):
        content = content.without_splits()
    cut = split_corpus(data, content, tokenizer, 1, needed=("val",))
    return replace(cut, block_size=block_size)


def bigrams(ids: Ids, vocab_size: int) -> int:
    """The number of different pairs of neighbouring tokens that occur."""
    pairs = ids[:-1] * vocab_size + ids[1:]
    if vocab_size**2 > len(pairs):
        return len(np.unique(pairs))
    return int(np.count_nonzero(np.bincount(pairs)))  # ten times as fast as sorting
