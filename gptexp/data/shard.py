"""One file of tokens: its header read, its size checked, its tokens read as they are asked for.

A `.bin` of two bytes a token, as nanoGPT writes it; the same behind a header, as llm.c and
modded-nanogpt write it, or of four bytes, as llm.c does for Llama 3; or a `.npy` of one axis. All
are little-endian. Torch-free.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gptexp.errors import DataError, Problem
from gptexp.files import NotRegularError, open_regular

HEADER = 256  # numbers of four bytes: magic, version, how many tokens, and zeros
MAGICS = {20240520: (1, "<u2"), 20240801: (7, "<u4")}  # version and type of the tokens behind
ROLE = re.compile(r"(?<![a-z])(train|val)", re.IGNORECASE)  # in the name of a file


class State(NamedTuple):
    """What tells a file from one that was written to since."""

    device: int
    inode: int
    size: int
    time: int  # of the last change, in nanoseconds


def _state(file: BufferedReader) -> State:
    stat = os.fstat(file.fileno())
    return State(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class Shard:
    """One file of tokens, whose header is what its size says."""

    path: Path
    split: str | None  # train or val; None where nothing tells
    dtype: str
    offset: int  # bytes before the first token
    tokens: int
    state: State  # by which a file that was written to is another one
    sha256: str | None = None  # as a manifest has it

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.offset + self.tokens * np.dtype(self.dtype).itemsize

    @contextlib.contextmanager
    def opened(self) -> Iterator["OpenShard"]:
        """The file inside, open; raises DataError for one that is not as it was found."""
        with _opened(self.path) as file:
            self.check(file)
            yield OpenShard(self, file)

    def check(self, file: BufferedReader) -> None:
        """Raise DataError where the open file is not as it was found."""
        if (now := _state(file)) == self.state:
            return
        what = "changed while it was in use"
        if now.size != self.size:
            what += f", from {self.size:,} bytes to {now.size:,}"
        fix = "restore it, or let it be as it is now, and start again"
        raise DataError(Problem(self.path, what, fix))


@dataclass(frozen=True)
class OpenShard:
    """A shard whose tokens are read.

    They are not mapped: a file that somebody cuts short would then end the process without a word.
    """

    shard: Shard
    file: BufferedReader

    def read(self, start: int, tokens: int) -> NDArray[np.integer]:
        """So many tokens from `start` on, [tokens]; raises DataError where they are gone."""
        ids = np.empty(tokens, self.shard.dtype)
        self.file.seek(self.shard.offset + start * ids.itemsize)
        if self.file.readinto(ids.data) != ids.nbytes:
            self.shard.check(self.file)
        return ids


def read_shard(path: Path) -> Shard:
    """A file with its header read and its size checked; raises DataError."""
    named = ROLE.findall(path.name)
    split = named[-1].lower() if named else None
    with _opened(path) as file:
        state = _state(file)
        dtype, offset, stated = (_npy if path.suffix == ".npy" else _bin)(path, file)
    width = np.dtype(dtype).itemsize
    body = state.size - offset
    if stated is None and body % width:
        what = f"{body:,} bytes, and {width} are a token: one is missing, or too many"
        raise DataError(Problem(path, what, "write it anew, or copy it again"))
    if stated is not None and stated * width != body:
        held = f"{body / width:,.1f}".removesuffix(".0")
        what = f"its header says {stated:,} tokens, and it holds {held}"
        raise DataError(Problem(path, what, "write it anew, or copy it again"))
    if body == 0:
        raise DataError(Problem(path, "holds no token", "leave it out, or write it anew"))
    return Shard(path, split, dtype, offset, body // width, state)


def _bin(path: Path, file: BufferedReader) -> tuple[str, int, int | None]:
    """Type, offset and told number of the tokens of a `.bin`; None for one without a header."""
    head = np.frombuffer(file.read(4 * HEADER), "<u1")
    numbers = head.view("<i4") if len(head) == 4 * HEADER else np.zeros(1, "<i4")
    magic = int(numbers[0])
    if magic in MAGICS:
        version, dtype = MAGICS[magic]
        if numbers[1] != version:
            what = f"its header has magic {magic} and version {numbers[1]}, not {version}"
            raise DataError(Problem(path, what, "write it by the program's present form"))
        return dtype, 4 * HEADER, int(numbers[2])
    if len(numbers) == HEADER and not numbers[3:].any():  # 506 tokens 0 in a row are no text
        what = f"begins with a header whose magic {magic} is not known"
        known = " or ".join(map(str, MAGICS))
        raise DataError(Problem(path, what, f"a header of magic {known}, or none"))
    return "<u2", 0, None


def _npy(path: Path, file: BufferedReader) -> tuple[str, int, int]:
    """The same of a `.npy`, of which nothing is unpickled."""
    fix = "numpy.save of an array of one axis, uint16 or uint32"
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except (ValueError, KeyError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise DataError(Problem(path, "its header is none of a .npy file", fix)) from error
    if dtype.str not in ("<u2", "<u4") or len(shape) != 1:
        axes = "one axis" if len(shape) == 1 else f"{len(shape)} axes"
        raise DataError(Problem(path, f"an array of {dtype} with {axes}", fix))
    return dtype.str, file.tell(), int(shape[0])


def _opened(path: Path) -> BufferedReader:
    """The file, open; raises DataError for what is none, and is not followed."""
    try:
        return open_regular(path)
    except NotRegularError as error:
        what = "a link, a pipe, a device or a folder, and no file of tokens"
        raise DataError(Problem(path, what, "put the file itself there, or name that")) from error
    except OSError as error:
        what = f"not readable, {error.strerror}"
        raise DataError(Problem(path, what, "make it readable, or leave it out")) from error
