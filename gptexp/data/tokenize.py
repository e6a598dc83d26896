"""`gptexp tokenize`: texts to a folder of token files, by several processes.

The folder depends on the texts and the options alone, and the same command goes on behind the last
shard that is whole.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptexp import console
from gptexp.data.shard_writer import Array, Place, Tokens, write_shard
from gptexp.data.sources import Piece, SourceFile, cut_into_pieces, open_source
from gptexp.data.token_folder import PART, Asked, Options, Progress, begun, finished, locked
from gptexp.data.token_manifest import Source, TokenManifest, write_token_manifest
from gptexp.errors import ConfigError, DataError, InterruptedRunError, Pause, Problem, StorageError
from gptexp.files import storage_errors, write_json
from gptexp.runtime.interrupt import Interrupt
from gptexp.runtime.pool import in_order
from gptexp.text import plural
from gptexp.tokenizers import merges
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import BytePairTokenizer, pieces
from gptexp.tokenizers.build import tokenizer_from_dict
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

log = logging.getLogger(__name__)

SMALL = 2**16  # tokens of a vocabulary, of which each takes two bytes

READ = 2**20  # bytes at once

BOUNDARY = "\n"  # after a document, of a tokenizer that has no token for the end of a text


def tokenize(
    names: Sequence[str],
    folder: Path,
    options: Options,
    workers: int,
    own: dict[str, Any] | None = None,
) -> TokenManifest:
    """Tokenize the files, and return what the folder then holds.

    `own` is the tokenizer of a run, as its checkpoints hold it, in the place of a new one.
    Raises DataError, ConfigError, DamagedError, StorageError, InUseError and, after a signal,
    InterruptedRunError.
    """
    sources = [open_source(name, options.field) for name in names]
    cut = cut_into_pieces(sources, options.val_fraction)
    with Interrupt() as interrupt, locked(folder):
        read = _Reading(cut, workers, interrupt)
        texts = _digests(names, sources, interrupt)
        if options.val_fraction:
            _warn_of_copies(texts)
        asked = Asked(options, texts, own)
        if (done := finished(folder, asked)) is not None:
            log.info("done    already: %s holds these tokens", folder)
            return done
        progress = begun(folder, asked)
        if progress is None:
            tokenizer = tokenizer_from_dict(own) if own else _vocabulary(options, read)
            progress = Progress(asked.manifest(tokenizer), Place(0, 0))
            write_json(folder / PART, asdict(progress))
        elif shards := progress.manifest.shards:
            log.info("going on behind %s, which %s holds", plural(len(shards), "shard"), folder)
        manifest = _write_shards(folder, progress, options.shard_tokens, read)
        write_token_manifest(folder, manifest)
        with storage_errors(folder / PART):
            (folder / PART).unlink()
        return manifest


class _Reading:
    """The pieces, read by several processes."""

    def __init__(self, cut: list[Piece], workers: int, interrupt: Interrupt) -> None:
        self.pieces, self.workers, self.interrupt = cut, workers, interrupt

    def each(
        self,
        doing: str,
        make: Callable[..., Callable[[Piece], Any]],
        args: tuple[Any, ...],
        begin: int = 0,
    ) -> Iterator[Any]:
        """What comes of each piece from that number on, in their order; ends at a signal."""
        left = self.pieces[begin:]
        before = sum(piece.bytes for piece in self.pieces[:begin])
        total = before + sum(piece.bytes for piece in left)
        with console.counting(doing, total, before) as count:
            workers = min(self.workers, len(left)) or 1
            results = in_order(make, args, left, workers)
            try:
                for piece, result in zip(left, results, strict=True):
                    count(piece.bytes)
                    _heed(self.interrupt)
                    yield result
            except StorageError:
                _heed(self.interrupt)  # the signal went to the processes of the pool too
                raise


def _write_shards(folder: Path, progress: Progress, most: int, read: _Reading) -> TokenManifest:
    """Write what is not written yet, and return the whole manifest."""
    manifest, at = progress.manifest, progress.at
    dtype: Literal["uint16", "uint32"] = "uint16" if manifest.vocab_size <= SMALL else "uint32"
    args = (manifest.tokenizer, manifest.end_of_text, dtype)
    tokens = Tokens(read.pieces, read.each("tokens", encoder, args, at.piece), at)
    while (split := tokens.split()) is not None:
        number = len(manifest.of_split(split))
        shard = write_shard(folder, number, split, dtype, tokens, most)
        manifest = replace(manifest, shards=[*manifest.shards, shard])
        write_json(folder / PART, asdict(replace(progress, manifest=manifest, at=tokens.at)))
    return manifest


def encoder(state: dict[str, Any], end_of_text: int | None, dtype: str) -> Callable[[Piece], Array]:
    """What turns a piece into tokens [tokens]; raises DataError."""
    tokenizer = tokenizer_from_dict(state)

    def encode(piece: Piece) -> Array:
        parts = [np.zeros(0, dtype)]
        for text, ends in piece.documents():
            if ends and end_of_text is None:
                text = _bounded(piece, text)
            try:
                parts.append(tokenizer.encode(text).astype(dtype))
            except DataError as error:
                [problem] = error.problems
                raise DataError(replace(problem, subject=piece.source.path)) from error
            if ends and end_of_text is not None:
                parts.append(np.array([end_of_text], dtype))
        return np.concatenate(parts)

    return encode


def character_finder() -> Callable[[Piece], set[str]]:
    """What turns a piece into the set of its characters; raises DataError."""

    def find(piece: Piece) -> set[str]:
        return set().union(*(_bounded(piece, text) for text, _ in piece.documents()))

    return find


def _bounded(piece: Piece, text: str) -> str:
    """The text, ending in a line break if it is one of many in its file."""
    lacks = piece.source.has_documents and not text.endswith(BOUNDARY)
    return text + BOUNDARY if lacks else text


def _vocabulary(options: Options, read: _Reading) -> Tokenizer:
    """The tokenizer that the options ask for, made for the texts; raises DataError, ConfigError."""
    match options.tokenizer:
        case "byte":
            return ByteTokenizer()
        case "gpt2":
            return BytePairTokenizer("gpt2", merges.published())
        case "char":
            of_pieces = read.each("letters", character_finder, ())
            return CharTokenizer("".join(sorted(set().union(*of_pieces))))
        case "bpe":
            assert options.vocab_size is not None
            return BytePairTokenizer("bpe", _learned(options.vocab_size, read))
    raise TypeError(f"no tokenizer {options.tokenizer}")


def _learned(vocab_size: int, read: _Reading) -> str:
    """Merges of the texts for training."""
    train = [piece for piece in read.pieces if piece.split == "train"]

    def parts() -> Iterator[str]:
        with console.counting("merges", sum(piece.bytes for piece in train)) as count:
            for piece in train:
                for text, _ in piece.documents():
                    yield from pieces(_bounded(piece, text))
                count(piece.bytes)
                _heed(read.interrupt)

    learned = merges.learn(parts(), vocab_size)
    if (count := merges.tokens(learned)) < vocab_size:
        what = f"{vocab_size:,}, and the texts for training have pairs for {count:,} tokens"
        raise ConfigError(Problem("--vocab-size", what, f"--vocab-size {count}, or more text"))
    return learned


def _digests(
    names: Sequence[str], sources: Sequence[SourceFile], interrupt: Interrupt
) -> list[Source]:
    texts = []
    with console.counting("reading", sum(source.length for source in sources)) as count:
        for name, source in zip(names, sources, strict=True):
            digest = hashlib.sha256()
            with source.opened() as file:
                while part := file.read(READ):
                    digest.update(part)
                    count(len(part))
                    _heed(interrupt)
            texts.append(Source(name, source.length, digest.hexdigest()))
    return texts


def _warn_of_copies(texts: Sequence[Source]) -> None:
    """Say where texts come again, of which the part for validation may then be trained on."""
    times = Counter(text.sha256 for text in texts if text.bytes)
    if again := sum(times.values()) - len(times):
        name = next(text.name for text in texts if times[text.sha256] > 1)
        what = f"comes again, {plural(again, 'repeat')} in all: validation may hold training text"
        log.warning("%s", Problem(name, what, "name each text once, or --val-fraction 0"))


def _heed(interrupt: Interrupt) -> None:
    if (number := interrupt.requested) is not None:
        what, how = "whole shards are kept", "the same command goes on behind them"
        raise InterruptedRunError(number, Pause("interrupted", what, how))
