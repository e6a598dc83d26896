"""Token files as nanoGPT, llm.c and numpy write them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gptexp.config import DataConfig
from gptexp.data.token_manifest import Shard, TokenManifest, write_token_manifest


def raw(path: Path, tokens: Sequence[int]) -> Path:
    """As nanoGPT's prepare.py: two bytes a token, and nothing else."""
    np.array(tokens, "<u2").tofile(path)
    return path


def with_header(
    path: Path,
    tokens: Sequence[int],
    dtype: str = "<u2",
    magic: int = 20240520,
    version: int = 1,
    told: int | None = None,
) -> Path:
    """As llm.c's data_common.py: 256 numbers of four bytes, then the tokens."""
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(tokens) if told is None else told
    path.write_bytes(header.tobytes() + np.array(tokens, dtype).tobytes())
    return path


def npy(path: Path, tokens: Sequence[int], dtype: str = "<u2") -> Path:
    np.save(path, np.array(tokens, dtype))
    return path


def told(
    path: Path, train: Sequence[int], val: Sequence[int], vocab_size: int, end: int | None
) -> Path:
    """A folder of bare ids with a manifest, by which documents end in the token `end`."""
    path.mkdir()
    shards = []
    for split, ids in (("train", train), ("val", val)):
        content = raw(path / f"{split}.bin", ids).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        shards.append(Shard(f"{split}.bin", split, "uint16", len(ids), len(content), digest))
    write_token_manifest(path, TokenManifest(1, None, vocab_size, end, {}, shards, []))
    return path


def settings(path: object, **changes: object) -> DataConfig:
    values = {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.0, "tokens": True}
    values |= {"name": "tokens", "asset": None, "path": str(path), **changes}
    return DataConfig(**values)
