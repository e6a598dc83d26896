"""Token files: found, their headers checked, and their content told by digests. Torch-free.

A shard is a `.bin` of two bytes a token, as nanoGPT writes it; the same behind a header, as llm.c
and modded-nanogpt write it, or of four bytes, as llm.c does for Llama 3; or a `.npy` of one axis.
All are little-endian.
"""

import contextlib
import glob
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from shlex import quote
from tokenize import TokenError
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gptexp.config import DataConfig
from gptexp.data.token_manifest import MANIFEST, TokenManifest, read_token_manifest
from gptexp.data.token_manifest import Shard as Entry
from gptexp.errors import DataError, GptexpError, Problem
from gptexp.files import (
    NotRegularError,
    at_home,
    json_sha256,
    open_regular,
    read_regular,
    user_cache,
    write_json,
)

log = logging.getLogger(__name__)

SUFFIXES = (".bin", ".npy")
HEADER = 256  # numbers of four bytes: magic, version, how many tokens, and zeros
MAGICS = {20240520: (1, "<u2"), 20240801: (7, "<u4")}  # version and type of the tokens behind
ROLE = re.compile(r"(?<![a-z])(train|val)", re.IGNORECASE)  # in the name of a file
AT_ONCE = 2**24  # bytes that are checked at once
SAID = 2**28  # bytes from which on a check is announced: it takes seconds
MOST_CACHED = 1000  # bytes of what is known of a shard


class Content(msgspec.Struct, frozen=True):
    """What a whole reading of a shard has told."""

    sha256: str
    largest: int  # of its tokens


@dataclass(frozen=True)
class Shard:
    """One file of tokens, whose header is what its size says."""

    path: Path
    split: str | None  # train or val; None where nothing tells
    dtype: str
    offset: int  # bytes before the first token
    tokens: int
    state: "State"  # by which a file that was written to is another one
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
        some = np.empty(tokens, self.shard.dtype)
        self.file.seek(self.shard.offset + start * some.itemsize)
        if self.file.readinto(some.data) != some.nbytes:
            self.shard.check(self.file)
        return some


@dataclass(frozen=True)
class TokenFiles:
    """The shards of a config, in the order of their names."""

    source: str  # as the user names it
    shards: tuple[Shard, ...]
    manifest: TokenManifest | None = None  # what tokens.json beside them says

    def without_splits(self) -> "TokenFiles":
        """The same, of which none is for training or validation alone."""
        return replace(self, shards=tuple(replace(shard, split=None) for shard in self.shards))

    def contents(self, *, anew: bool = False) -> list[Content]:
        """What the shards hold: each is read whole once, and `anew` where that is asked for.

        Raises DataError for one that is not what it was.
        """
        known = [None if anew else _known(shard) for shard in self.shards]
        pairs = list(zip(self.shards, known, strict=True))
        if (size := sum(shard.size for shard, content in pairs if content is None)) >= SAID:
            log.info("data    %.1f GB of token files are checked, once", size / 1e9)
        found = [(shard, content or _learn(shard)) for shard, content in pairs]
        DataError.raise_for(
            Problem(
                shard.path,
                f"not what {MANIFEST} says: its SHA-256 is {content.sha256[:12]}... and should be "
                f"{shard.sha256[:12]}...",
                "restore it, or make the folder again",
            )
            for shard, content in found
            if shard.sha256 not in (None, content.sha256)
        )
        return [content for _, content in found]

    def digest(self, *, anew: bool = False) -> str:
        """SHA-256, in hexadecimal, over the digests of the shards and what each is for."""
        contents = self.contents(anew=anew)
        told = [
            [shard.split or "", content.sha256]
            for shard, content in zip(self.shards, contents, strict=True)
        ]
        if (says := self.manifest) is None:
            return json_sha256({"shards": told})
        meaning = [says.tokenizer, says.vocab_size, says.end_of_text]
        return json_sha256({"shards": told, "meaning": meaning})


def find_token_files(data: DataConfig) -> TokenFiles:
    """The token files that data.path names: a file, a glob, or all of a folder.

    What tokens.json beside them says of each counts, where it lists them all. Raises DataError with
    a line for each that cannot be one, and DamagedError for tokens.json.
    """
    folder = at_home(data.path or "")
    manifest, told = None, {}
    if folder.is_dir() and (manifest := read_token_manifest(folder)) is not None:
        paths = [folder / shard.file for shard in manifest.shards]
    else:
        paths = _paths(data.path or "")
        if len({path.parent for path in paths}) == 1:
            manifest = read_token_manifest(paths[0].parent)
    if manifest is not None:
        told = {shard.file: shard for shard in manifest.shards}
        manifest = manifest if all(path.name in told for path in paths) else None
    problems: list[Problem] = []
    shards: list[Shard] = []
    for path in paths:
        try:
            shards.append(_shard(path) if manifest is None else _told(path, told[path.name]))
        except DataError as error:
            problems += error.problems
    DataError.raise_for(problems)
    return TokenFiles(str(data.path), tuple(_with_roles(shards)), manifest)


def _paths(given: str) -> list[Path]:
    """The files, by name; raises DataError where there are none."""
    path = at_home(given)
    kinds = " or ".join(SUFFIXES)
    fix = f"data.path=FOLDER, FILE or 'GLOB', of files that end in {kinds}"
    made = f"gptexp tokenize TEXTS --tokenizer gpt2 --to {quote(given)}, or other files of {kinds}"
    try:
        if path.is_dir():
            found = [name for name in path.iterdir() if name.suffix in SUFFIXES]
            what, fix = f"{given} is a folder without token files", made
        elif os.path.lexists(path):
            found, what = [path], ""
        else:
            found = [Path(name) for name in glob.glob(str(path))]  # noqa: PTH207  # absolute too
            what = f"{given} is not there"
            fix = fix if path.suffix or glob.has_magic(given) else made
    except (OSError, ValueError) as error:  # not readable; a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            Problem("data.path", f"{given!r} is not readable, {reason}", fix)
        ) from error
    if not found:
        raise DataError(Problem("data.path", what, fix))
    DataError.raise_for(
        Problem(name, f"no token file by its name, which ends in {name.suffix or 'nothing'}", fix)
        for name in found
        if name.suffix not in SUFFIXES
    )
    return sorted(found)


def _with_roles(shards: Sequence[Shard]) -> Sequence[Shard]:
    """The shards with their splits where both occur, else without.

    Raises DataError where some are named by theirs and others are not.
    """
    roles = {shard.split for shard in shards}
    if None in roles and len(roles) > 1:
        nameless = next(shard for shard in shards if shard.split is None)
        what = "neither train nor val is in its name, as in those of others"
        raise DataError(Problem(nameless.path, what, "name it so, or name its split nowhere"))
    if roles == {"train", "val"}:
        return shards
    return [replace(shard, split=None) for shard in shards]


def _told(path: Path, entry: Entry) -> Shard:
    """A file that is as tokens.json says; raises DataError."""
    shard = _shard(path)
    held = f"{shard.tokens:,} tokens of {np.dtype(shard.dtype).name}, {shard.size:,} bytes"
    said = f"{entry.tokens:,} tokens of {entry.dtype}, {entry.bytes:,} bytes"
    if held != said:
        what = f"{held}, and {MANIFEST} says {said}"
        raise DataError(Problem(path, what, "restore it, or make the folder again"))
    return replace(shard, split=entry.split, sha256=entry.sha256)


def _shard(path: Path) -> Shard:
    """A file with its header read and its size checked; raises DataError."""
    named = ROLE.findall(path.name)
    split = named[-1].lower() if named else None
    with _opened(path) as file:
        state = _state(file)
        size = state.size
        dtype, offset, told = _npy(path, file) if path.suffix == ".npy" else _bin(path, file, size)
    width = np.dtype(dtype).itemsize
    body = size - offset
    if told is None and body % width:
        what = f"{body:,} bytes, and {width} are a token: one is missing, or too many"
        raise DataError(Problem(path, what, "write it anew, or copy it again"))
    if told is not None and told * width != body:
        held = f"{body / width:,.1f}".removesuffix(".0")
        what = f"its header says {told:,} tokens, and it holds {held}"
        raise DataError(Problem(path, what, "write it anew, or copy it again"))
    if body == 0:
        raise DataError(Problem(path, "holds no token", "leave it out, or write it anew"))
    return Shard(path, split, dtype, offset, body // width, state)


def _bin(path: Path, file: BufferedReader, size: int) -> tuple[str, int, int | None]:
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


class State(NamedTuple):
    """What tells a file from one that was written to since."""

    device: int
    inode: int
    size: int
    time: int  # of the last change, in nanoseconds


def _state(file: BufferedReader) -> State:
    stat = os.fstat(file.fileno())
    return State(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


_CONTENTS: dict[str, Content] = {}  # what this process has learned, by path and state


def _key(shard: Shard) -> str:
    return json_sha256([str(shard.path.absolute()), *shard.state])


def _known(shard: Shard) -> Content | None:
    """What is known of a shard; None where it was not read yet. Raises DataError if it changed."""
    with shard.opened():
        pass
    if (key := _key(shard)) not in _CONTENTS:
        with contextlib.suppress(OSError, GptexpError, msgspec.MsgspecError, UnicodeDecodeError):
            raw = read_regular(user_cache() / "shards" / f"{key}.json", MOST_CACHED)
            _CONTENTS[key] = msgspec.json.decode(raw, type=Content)
    return _CONTENTS.get(key)


def _learn(shard: Shard) -> Content:
    """What reading a shard whole tells, which is kept for other processes in the user's cache.

    Raises DataError where it is written to meanwhile.
    """
    with shard.opened() as opened:
        file = opened.file
        digest, largest = hashlib.sha256(file.read(shard.offset)), 0
        while chunk := file.read(AT_ONCE):
            digest.update(chunk)
            if len(chunk) % np.dtype(shard.dtype).itemsize:
                break  # cut in the midst of a token
            largest = max(largest, int(np.frombuffer(chunk, shard.dtype).max()))
        shard.check(file)
    _CONTENTS[key := _key(shard)] = content = Content(digest.hexdigest(), largest)
    with contextlib.suppress(OSError, GptexpError):  # it will be read again
        folder = user_cache() / "shards"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{key}.json", msgspec.to_builtins(content))
    return content
