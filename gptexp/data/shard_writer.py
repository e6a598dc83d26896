"""Files of tokens, written one after another from the tokens of pieces."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gptexp.data.shard import HEADER, MAGICS
from gptexp.data.sources import Piece, Split
from gptexp.data.token_manifest import Shard
from gptexp.files import sha256, write_atomic

Array = NDArray[np.integer]

MAGIC = next(magic for magic, (_, dtype) in MAGICS.items() if dtype == "<u2")


@dataclass(frozen=True)
class Place:
    """Where the next token is."""

    piece: int
    offset: int  # tokens of that piece before it


class Tokens:
    """The tokens of pieces, one piece after another; `at` is the place of the next one."""

    def __init__(self, pieces: Sequence[Piece], arrays: Iterator[Array], at: Place) -> None:
        """`arrays` has the tokens of each piece from that of `at` on."""
        self.pieces, self.arrays, self.at = pieces, arrays, at
        self._held: Array | None = None  # the tokens of the piece of `at`

    def split(self) -> Split | None:
        """The split of the next token; None where there is none."""
        while self.at.piece < len(self.pieces):
            if self._held is None:
                self._held = next(self.arrays)
            if self.at.offset < len(self._held):
                return self.pieces[self.at.piece].split
            self._held, self.at = None, Place(self.at.piece + 1, 0)
        return None

    def take(self, most: int) -> Array:
        """The next tokens, so many at most; called where `split` is not None."""
        assert self._held is not None
        part = self._held[self.at.offset : self.at.offset + most]
        self.at = Place(self.at.piece, self.at.offset + len(part))
        return part


def write_shard(
    folder: Path,
    number: int,
    split: Split,
    dtype: Literal["uint16", "uint32"],
    tokens: Tokens,
    most: int,
) -> Shard:
    """Write the next tokens of a split, so many at most, as one file; raises StorageError."""
    path = folder / f"{split}_{number:06}.{'bin' if dtype == 'uint16' else 'npy'}"
    written = 0

    def write(file: IO[bytes]) -> None:
        nonlocal written
        _write_header(file, dtype, 0)
        while written < most and tokens.split() == split:
            part = tokens.take(most - written)
            file.write(part.astype(f"<{np.dtype(dtype).str[1:]}").tobytes())
            written += len(part)
        file.seek(0)
        _write_header(file, dtype, written)  # as long as the first one

    write_atomic(path, write)
    return Shard(path.name, split, dtype, written, path.stat().st_size, sha256(path))


def _write_header(file: IO[bytes], dtype: str, tokens: int) -> None:
    if dtype == "uint16":
        file.write(struct.pack("<3i", MAGIC, MAGICS[MAGIC][0], tokens).ljust(4 * HEADER, b"\0"))
    else:  # numpy leaves room in it for a longer axis
        header = {"descr": "<u4", "fortran_order": False, "shape": (tokens,)}
        npy.write_array_header_1_0(file, header)
