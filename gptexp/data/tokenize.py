"""`gptexp tokenize`: texts to a folder of token files, by several processes.

The folder depends on the texts and the options alone. After each shard tokens.part.json says how
far the work is, so that the same command goes on there; tokens.json is written last.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptexp import console
from gptexp.data.shard_writer import Array, Place, Tokens, write_shard
from gptexp.data.sources import Piece, SourceFile, cut_into_pieces, open_source
from gptexp.data.token_manifest import (
    MANIFEST,
    Source,
    TokenManifest,
    read_token_manifest,
    write_token_manifest,
)
from gptexp.errors import (
    ConfigError,
    DamagedError,
    DataError,
    InterruptedRunError,
    InUseError,
    Pause,
    Problem,
    StorageError,
)
from gptexp.files import (
    read_json,
    readable,
    sha256,
    storage_errors,
    sweep_temporaries,
    write_json,
)
from gptexp.runtime.interrupt import Interrupt
from gptexp.runtime.pool import in_order
from gptexp.text import listed, plain, plural
from gptexp.tokenizers import merges
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import BytePairTokenizer, pieces
from gptexp.tokenizers.build import tokenizer_from_dict
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

log = logging.getLogger(__name__)

PART = "tokens.part.json"

SMALL = 2**16  # tokens of a vocabulary, of which each takes two bytes

READ = 2**20  # bytes at once

SHARD = re.compile(r"(train|val)_\d+\.(bin|npy)")
OURS = "train_* and val_* files"

BOUNDARY = "\n"  # after a document, of a tokenizer that has no token for the end of a text


@dataclass(frozen=True)
class Options:
    """What is made of the texts; all of it is in the manifest."""

    tokenizer: str  # char, byte, bpe or gpt2
    vocab_size: int | None  # of bpe
    field: str  # of a line of JSON or a row of a parquet
    end_of_text: bool  # after each document, where the tokenizer has such a token
    val_fraction: float
    shard_tokens: int


@dataclass(frozen=True)
class Asked:
    """All that the tokens depend on."""

    options: Options
    sources: list[Source]
    own: dict[str, Any] | None  # the tokenizer of a run

    def manifest(self, tokenizer: Tokenizer) -> TokenManifest:
        """The manifest before any shard."""
        end = tokenizer.end_of_text if self.options.end_of_text else None
        state, size = tokenizer.to_dict(), tokenizer.vocab_size
        return TokenManifest(1, state, size, end, asdict(self.options), [], self.sources)

    def difference(self, other: TokenManifest) -> str:
        """What other tokens were made of, in words; empty where these are the same.

        Where the texts are, and what they are called, does not count.
        """
        for name, value in asdict(self.options).items():
            if other.options.get(name) != value:
                option = f"--{name.replace('_', '-')}"
                return f"{option} {plain(other.options.get(name))}, and not {plain(value)}"
        if self.own is not None and self.own != other.tokenizer:
            return "another tokenizer of that kind"
        pairs = [[(text.bytes, text.sha256) for text in it] for it in (other.sources, self.sources)]
        return "" if pairs[0] == pairs[1] else "other texts"


@dataclass(frozen=True)
class Progress:
    """What tokens.part.json holds: what is there, and where the next shard begins."""

    manifest: TokenManifest
    at: Place


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
    with Interrupt() as interrupt, _locked(folder):
        sources = [open_source(name, options.field) for name in names]
        read = _Reading(cut_into_pieces(sources, options.val_fraction), workers, interrupt)
        asked = Asked(options, _digests(names, sources, interrupt), own)
        if (done := _finished(folder, asked)) is not None:
            log.info("done    already: %s holds these tokens", folder)
            return done
        progress = _begun(folder, asked)
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
            found = read.each("letters", character_finder, ())
            return CharTokenizer("".join(sorted(set().union(*found))))
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
    if (made := merges.tokens(learned)) < vocab_size:
        what = f"{vocab_size:,}, and the texts for training have pairs for {made:,} tokens"
        raise ConfigError(Problem("--vocab-size", what, f"--vocab-size {made}, or more text"))
    return learned


def _digests(
    names: Sequence[str], sources: Sequence[SourceFile], interrupt: Interrupt
) -> list[Source]:
    found = []
    with console.counting("reading", sum(source.length for source in sources)) as count:
        for name, source in zip(names, sources, strict=True):
            digest = hashlib.sha256()
            with source.opened() as file:
                while part := file.read(READ):
                    digest.update(part)
                    count(len(part))
                    _heed(interrupt)
            found.append(Source(name, source.length, digest.hexdigest()))
    return found


def _finished(folder: Path, asked: Asked) -> TokenManifest | None:
    """The manifest of a folder that is whole, and of these tokens; None of one that is not whole.

    Raises ConfigError for other tokens, DamagedError.
    """
    if (manifest := read_token_manifest(folder)) is not None:
        _check(folder, manifest, asked)
    return manifest


def _begun(folder: Path, asked: Asked) -> Progress | None:
    """How far the work in a folder is; None where it is not begun.

    Raises ConfigError for other tokens, DamagedError.
    """
    left = f"delete it and all {OURS} beside it"
    progress = read_json(folder / PART, Progress, left)
    # Where nothing is written yet, as of a text that was refused, there are no other tokens.
    if progress and (progress.manifest.shards or not asked.difference(progress.manifest)):
        _check(folder, progress.manifest, asked)
        return progress
    if others := sorted(path.name for path in folder.iterdir() if SHARD.fullmatch(path.name)):
        what = f"holds {listed(others, 3)}, and no {MANIFEST}"
        raise ConfigError(Problem(folder, what, "name another folder: --to FOLDER"))
    return None


def _check(folder: Path, manifest: TokenManifest, asked: Asked) -> None:
    """That a folder holds what is asked for, whole as far as its manifest goes."""
    if difference := asked.difference(manifest):
        what = f"holds other tokens: {difference}"
        raise ConfigError(Problem(folder, what, "name another folder: --to FOLDER"))
    for shard in manifest.shards:
        path, fix = folder / shard.file, f"delete tokens.* and all {OURS} in the folder"
        try:
            is_whole = path.stat().st_size == shard.bytes and sha256(path) == shard.sha256
        except OSError as error:
            what = f"cannot be read, {error.strerror}"
            raise DamagedError(Problem(path, what, readable(error, fix))) from error
        if not is_whole:
            raise DamagedError(Problem(path, "changed since it was written", fix))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, and be the only process that writes in it; raises InUseError."""
    from filelock import FileLock, Timeout

    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    with storage_errors(folder / ".lock"):
        try:
            lock.acquire()
        except Timeout as error:
            what, fix = "another process writes there", "wait for it, or stop it"
            raise InUseError(Problem(folder, what, fix)) from error
    try:
        sweep_temporaries(folder)
        yield
    finally:
        lock.release()


def _heed(interrupt: Interrupt) -> None:
    if (number := interrupt.requested) is not None:
        what, how = "whole shards are kept", "the same command goes on behind them"
        raise InterruptedRunError(number, Pause("interrupted", what, how))
