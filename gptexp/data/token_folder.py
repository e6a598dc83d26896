"""A folder in which token files are made: by whom, of what, and how far they are.

After each shard tokens.part.json says how far the work is; tokens.json is written last.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptexp.data.shard_writer import Place
from gptexp.data.token_manifest import MANIFEST, Source, TokenManifest, read_token_manifest
from gptexp.errors import ConfigError, DamagedError, InUseError, Problem
from gptexp.files import read_json, readable, sha256, storage_errors, sweep_temporaries
from gptexp.text import listed, plain
from gptexp.tokenizers.base import Tokenizer

PART = "tokens.part.json"

SHARD = re.compile(r"(train|val)_\d+\.(bin|npy)")
OURS = "train_* and val_* files"


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
        theirs = [(text.bytes, text.sha256) for text in other.sources]
        ours = [(text.bytes, text.sha256) for text in self.sources]
        return "" if theirs == ours else "other texts"


@dataclass(frozen=True)
class Progress:
    """What tokens.part.json holds: what is there, and where the next shard begins."""

    manifest: TokenManifest
    at: Place


@contextmanager
def locked(folder: Path) -> Iterator[None]:
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


def finished(folder: Path, asked: Asked) -> TokenManifest | None:
    """The manifest of a folder that is whole, and of these tokens; None of one that is not whole.

    Raises ConfigError for other tokens, DamagedError.
    """
    if (manifest := read_token_manifest(folder)) is not None:
        _check(folder, manifest, asked)
    return manifest


def begun(folder: Path, asked: Asked) -> Progress | None:
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
