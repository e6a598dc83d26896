"""tokens.json of a folder of token files: what each holds, and of which texts it was made.

`gptexp tokenize` writes it last, so a folder that has one is whole. People share such folders: what
the file holds is checked once, here, as it is read.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from gptexp.errors import DamagedError, Problem
from gptexp.files import read_json, write_json

MANIFEST = "tokens.json"

FORMAT = 1

ITEM_BYTES = {"uint16": 2, "uint32": 4}  # of one token

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[^/\\\x00]{1,255}$")]
VocabSize = Annotated[int, msgspec.Meta(ge=1, le=2**32)]


@dataclass(frozen=True)
class Shard:
    """One file of tokens."""

    file: FileName  # in the folder of the manifest
    split: Literal["train", "val"]
    dtype: Literal["uint16", "uint32"]
    tokens: Count
    bytes: Count  # of the whole file, its header included
    sha256: Digest  # likewise


@dataclass(frozen=True)
class Source:
    """One file that was tokenized."""

    name: str  # as the user typed it
    bytes: Count
    sha256: Digest


@dataclass(frozen=True)
class TokenManifest:
    """What tokens.json holds; the shards of each split stand in the order of their text."""

    format: Literal[1]
    tokenizer: dict[str, Any] | None  # as checkpoints hold it; None where nobody knows it
    vocab_size: VocabSize
    end_of_text: Count | None  # the token after each document, where there is one
    options: dict[str, str | int | float | bool | None]  # of the command that wrote the shards
    shards: list[Shard]
    sources: list[Source]

    def of_split(self, split: str) -> list[Shard]:
        """The shards of "train" or "val", in their order."""
        return [shard for shard in self.shards if shard.split == split]


def read_token_manifest(folder: Path) -> TokenManifest | None:
    """tokens.json of a folder; None where there is none; raises DamagedError.

    The shards themselves are not looked at.
    """
    path, fix = folder / MANIFEST, "make the folder again by gptexp tokenize"
    manifest = read_json(path, TokenManifest, fix)
    if manifest is not None and (defect := next(_defects(manifest), None)) is not None:
        raise DamagedError(Problem(path, f"damaged: {defect}", fix))
    return manifest


def write_token_manifest(folder: Path, manifest: TokenManifest) -> None:
    """Put the manifest in the place of the folder's tokens.json; raises StorageError."""
    write_json(folder / MANIFEST, asdict(manifest))


def _defects(manifest: TokenManifest) -> Iterator[str]:
    """What cannot be, though each value is of its kind."""
    if not manifest.shards:
        yield "no shards"
    for name, times in Counter(shard.file for shard in manifest.shards).items():
        if name in (".", "..", MANIFEST):
            yield f"{name} is no file of tokens"
        elif times > 1:
            yield f"{name} stands there {times} times"
    for shard in manifest.shards:
        if shard.bytes < shard.tokens * ITEM_BYTES[shard.dtype]:
            yield f"{shard.file} has {shard.bytes:,} bytes, too few for {shard.tokens:,} tokens"
        if shard.dtype == "uint16" and manifest.vocab_size > 2**16:
            yield f"{shard.file} is uint16, and the vocabulary has {manifest.vocab_size:,} tokens"
    end = manifest.end_of_text
    if end is not None and end >= manifest.vocab_size:
        yield f"end_of_text is {end:,}, past a vocabulary of {manifest.vocab_size:,}"
