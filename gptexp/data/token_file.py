"""Token files as a corpus, of which a batch alone is read."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from gptexp.config import DataConfig, StoredTokenizerConfig, TokenizerConfig, Windows
from gptexp.data.corpus import SPLITS, Ids, Splits, Tokens, to_device
from gptexp.data.shard import Shard
from gptexp.data.shards import TokenFiles
from gptexp.data.text import StreamCorpus, Text, check_lengths
from gptexp.data.token_manifest import MANIFEST
from gptexp.errors import CheckpointError, DataError, Problem
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import build_tokenizer, tokenizer_from_dict
from gptexp.tokenizers.ids import TokenIds

GPT2_TOKENS = 50_257  # the vocabulary of most token files that do not say theirs
PIECES = 64  # of a split, evenly spread, that are judged in its stead
COUNTED = 2**18  # tokens of training that n-grams are counted of: a second and 100 MB


@dataclass(frozen=True)
class Piece:
    """The tokens of a shard from `start` up to `end`."""

    shard: Shard
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def cut(self, start: int, end: int) -> "Piece":
        """The same of these tokens alone; nothing is read."""
        ends = (min(max(place, 0), len(self)) for place in (start, end))
        return Piece(self.shard, *(self.start + place for place in ends))

    def read(self, spans: Iterable[tuple[int, int]]) -> Iterator[Tokens]:
        """The tokens of each span, its start and its length; raises DataError."""
        with self.shard.opened() as opened:
            for start, tokens in spans:
                yield opened.read(self.start + start, tokens)


class Stream:
    """The tokens of several pieces as one sequence, read where they are asked for."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = [piece for piece in pieces if len(piece)]
        ends = [0, *accumulate(map(len, self.pieces))]
        self.ends = np.array(ends)  # [pieces + 1]; where each begins, and all end

    def __len__(self) -> int:
        return int(self.ends[-1])

    def cut(self, start: int, end: int) -> "Stream":
        """The tokens from `start` up to `end`; nothing is read."""
        pairs = zip(self.pieces, self.ends[:-1].tolist(), strict=True)
        return Stream(piece.cut(start - begin, end - begin) for piece, begin in pairs)

    def spread(self, tokens: int) -> "Stream":
        """So many of the tokens, in PIECES at equal distances; nothing is read."""
        if tokens >= len(self):
            return self
        count = min(PIECES, tokens)
        ends = [tokens * number // count for number in range(count + 1)]
        skipped = len(self) - tokens
        pieces: list[Piece] = []
        for number, (start, end) in enumerate(pairwise(ends)):
            before = skipped * (2 * number + 1) // (2 * count)
            pieces += self.cut(before + start, before + end).pieces
        return Stream(pieces)

    def array(self) -> Tokens:
        """All of the tokens, [tokens]; raises DataError."""
        read = (next(piece.read([(0, len(piece))])) for piece in self.pieces)
        return np.concatenate([np.empty(0, np.uint16), *read])

    def rows(self, starts: Ids, length: int) -> Ids:
        """The tokens from each of `starts` on, [rows, length]; raises DataError."""
        rows = np.empty((len(starts), length), np.int64)
        first = np.searchsorted(self.ends, starts, side="right") - 1
        # By piece, since each is opened once: row, column, start in the piece, how many.
        wanted: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        for row, (number, start) in enumerate(zip(first.tolist(), starts.tolist(), strict=True)):
            column = 0
            while column < length:
                at = start + column - int(self.ends[number])
                count = min(len(self.pieces[number]) - at, length - column)
                wanted[number].append((row, column, at, count))
                column, number = column + count, number + 1
        for number, spans in wanted.items():
            read = self.pieces[number].read((at, count) for *_, at, count in spans)
            for (row, column, _, count), tokens in zip(spans, read, strict=True):
                rows[row, column : column + count] = tokens
        return rows


class TokenFileCorpus(StreamCorpus):
    """Token files: training on the disk, what is judged in the host's memory."""

    def __init__(
        self,
        train: Stream,
        judged: dict[str, Tokens],
        vocab_size: int,
        block_size: int,
        rows: int,
        seed: int,
        device: torch.device,
        sampling: Windows,
    ) -> None:
        super().__init__(len(train), block_size, rows, seed, sampling)
        self.train, self.judged = train, judged
        self.vocab_size, self.device = vocab_size, device

    def tokens_per_epoch(self, split: str) -> int:
        return len(self.train) if split == "train" else len(self.judged[split])

    def rows_at(self, split: str, starts: Ids, length: int) -> Tensor:
        """Raises DataError for a file that is written to, and for a token past the vocabulary."""
        if split == "train":
            rows = self.train.rows(starts, length)
        else:
            rows = self.judged[split][starts[:, None] + np.arange(length)].astype(np.int64)
        if rows.size and rows.max() >= self.vocab_size:
            what = f"token {rows.max()} in a batch is past the vocabulary, {self.vocab_size:,}"
            fix = "let the token files be while a run reads them, and start it again"
            raise DataError(Problem("data.path", what, fix))
        return to_device(rows, self.device)


class TokenStream(Text):
    """What a reader gives in the place of token files: a text, which samples end as documents do.

    Where a token ends documents, a sample begins at it and ends before the next.
    """

    def stop(self, tokenizer: Tokenizer) -> int | None:
        return tokenizer.end_of_text

    def prompt(self, text: str | None, tokenizer: Tokenizer) -> Ids:
        """As of a text; without one, what stands before a document."""
        if text is None and tokenizer.end_of_text is not None:
            return np.array([tokenizer.end_of_text], np.int64)
        return super().prompt(text, tokenizer)


@dataclass(frozen=True)
class TokenSplits:
    """Token files cut: the order is train, test, validation."""

    streams: dict[str, Stream]  # test and validation in as many tokens as are judged
    bounds: dict[str, tuple[int, int]]  # start and end of each split, in tokens

    @cached_property
    def arrays(self) -> Splits:
        """The splits as arrays; of training its first COUNTED tokens alone."""
        streams = {**self.streams, "train": self.streams["train"].cut(0, COUNTED)}
        return Splits(**{name: part.array() for name, part in streams.items()}, bounds=self.bounds)


def cut_tokens(
    files: TokenFiles, data: DataConfig, block_size: int, needed: Collection[str] = SPLITS
) -> TokenSplits:
    """The splits of token files; raises DataError where a needed one is too short for a window."""
    shards = sorted(files.shards, key=lambda shard: shard.split == "val")
    stream = Stream(Piece(shard, 0, shard.tokens) for shard in shards)
    total = len(stream)
    named = sum(shard.tokens for shard in shards if shard.split == "val")
    val_start = total - named if named else int(total * (1 - data.val_fraction))
    test_start = max(val_start - int(total * data.test_fraction), 0)
    bounds = {"train": (0, test_start), "test": (test_start, val_start), "val": (val_start, total)}
    streams = {name: stream.cut(*ends) for name, ends in bounds.items()}
    streams["train"] = streams["train"].cut(0, int(test_start * data.fraction))
    if data.val_tokens is not None:
        streams |= {name: streams[name].spread(data.val_tokens) for name in ("test", "val")}
    check_lengths(data, {name: len(streams[name]) for name in needed}, block_size)
    return TokenSplits(streams, bounds)


def tokenizer_of(files: TokenFiles, data: DataConfig, cfg: TokenizerConfig) -> Tokenizer:
    """What the tokens stand for, by their manifest or the config; else bare ids.

    Raises DataError where the config names another tokenizer than the manifest.
    """
    says = files.manifest
    if not isinstance(cfg, StoredTokenizerConfig):
        return build_tokenizer(cfg, "", "", "")
    if says is None or says.tokenizer is None:
        return TokenIds(data.vocab_size or (GPT2_TOKENS if says is None else says.vocab_size))
    try:
        return tokenizer_from_dict(says.tokenizer)
    except CheckpointError as error:
        what = f"{MANIFEST}: {error.problems[0].told()}"
        raise DataError(Problem(files.source, what, "tokenize the text anew")) from error


def ended(files: TokenFiles, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with the token that ends documents in these files as its `end_of_text`.

    That is what the manifest says, else its own; None where no file holds it.
    """
    says = files.manifest
    end = tokenizer.end_of_text if says is None else says.end_of_text
    if end is not None and all(content.largest < end for content in files.contents()):
        end = None
    if end == tokenizer.end_of_text:
        return tokenizer
    tokenizer = copy(tokenizer)
    tokenizer.end_of_text = end
    return tokenizer


def check_documents(files: TokenFiles, data: DataConfig, tokenizer: Tokenizer) -> None:
    """Raises DataError where documents are to be told apart, and no token ends them."""
    if not data.mask_documents or tokenizer.end_of_text is not None:
        return
    what = f"true, and no token of {files.source} ends a document"
    fix = "files by gptexp tokenize --tokenizer gpt2, which ends each by one"
    if files.manifest is None and isinstance(tokenizer, TokenIds):
        what = f"true, and nothing says which token of {files.source} ends a document"
        fix = "tokenizer=gpt2, where they are that"
    raise DataError(Problem("data.mask_documents", what, fix))


def check_vocabulary(files: TokenFiles, data: DataConfig, tokenizer: Tokenizer) -> None:
    """Raises DataError where the files are of another tokenizer, or hold a token past its own."""
    size, says = tokenizer.vocab_size, files.manifest
    stored = None if says is None else says.tokenizer
    if stored not in (None, tokenizer.to_dict()) and not isinstance(tokenizer, TokenIds):
        what = f"its tokens are by {stored.get('name')}, and are read by {tokenizer.describe()}"
        raise DataError(Problem(files.source, what, "tokenizer=stored, or files of these"))
    if data.vocab_size not in (None, size):
        what = f"{data.vocab_size}, and the tokenizer has {size:,} tokens"
        raise DataError(Problem("data.vocab_size", what, "data.vocab_size=null"))
    fix = "write the file anew, or tokenizer=stored data.vocab_size={}"
    DataError.raise_for(
        Problem(
            shard.path,
            f"holds token {content.largest}, past the vocabulary of {size:,}",
            fix.format(content.largest + 1),
        )
        for shard, content in zip(files.shards, files.contents(), strict=True)
        if content.largest >= size
    )
