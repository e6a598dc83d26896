"""Token files of a config: found, and their content told by digests. Torch-free."""

import contextlib
import glob
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import msgspec
import numpy as np

from gptexp.config import DataConfig
from gptexp.data.shard import Shard, read_shard
from gptexp.data.token_manifest import MANIFEST, TokenManifest, read_token_manifest
from gptexp.data.token_manifest import Shard as Entry
from gptexp.errors import DataError, GptexpError, Problem
from gptexp.files import at_home, json_sha256, read_regular, user_cache, write_json

log = logging.getLogger(__name__)

SUFFIXES = (".bin", ".npy")
AT_ONCE = 2**24  # bytes that are checked at once
ANNOUNCED = 2**28  # bytes from which on a check is announced: it takes seconds
MOST_CACHED = 1000  # bytes of what is known of a shard


class Content(msgspec.Struct, frozen=True):
    """What a whole reading of a shard has told."""

    sha256: str
    largest: int  # of its tokens


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
        if (size := sum(shard.size for shard, content in pairs if content is None)) >= ANNOUNCED:
            log.info("data    %.1f GB of token files are checked, once", size / 1e9)
        contents = [content or _learn(shard) for shard, content in pairs]
        DataError.raise_for(
            Problem(
                shard.path,
                f"not what {MANIFEST} says: its SHA-256 is {content.sha256[:12]}... and should be "
                f"{shard.sha256[:12]}...",
                "restore it, or make the folder again",
            )
            for shard, content in zip(self.shards, contents, strict=True)
            if shard.sha256 not in (None, content.sha256)
        )
        return contents

    def digest(self, *, anew: bool = False) -> str:
        """SHA-256, in hexadecimal, over the digests of the shards and what each is for."""
        contents = self.contents(anew=anew)
        entries = [
            [shard.split or "", content.sha256]
            for shard, content in zip(self.shards, contents, strict=True)
        ]
        if (says := self.manifest) is None:
            return json_sha256({"shards": entries})
        meaning = [says.tokenizer, says.vocab_size, says.end_of_text]
        return json_sha256({"shards": entries, "meaning": meaning})


def find_token_files(data: DataConfig) -> TokenFiles:
    """The token files that data.path names: a file, a glob, or all of a folder.

    What tokens.json beside them says of each counts, where it lists them all. Raises DataError with
    a line for each that cannot be one, and DamagedError for tokens.json.
    """
    folder = at_home(data.path or "")
    manifest, by_name = None, {}
    if folder.is_dir() and (manifest := read_token_manifest(folder)) is not None:
        paths = [folder / shard.file for shard in manifest.shards]
    else:
        paths = _paths(data.path or "")
        if len({path.parent for path in paths}) == 1:
            manifest = read_token_manifest(paths[0].parent)
    if manifest is not None:
        by_name = {shard.file: shard for shard in manifest.shards}
        manifest = manifest if all(path.name in by_name for path in paths) else None
    problems: list[Problem] = []
    shards: list[Shard] = []
    for path in paths:
        try:
            shard = read_shard(path)
            shards.append(shard if manifest is None else _as_listed(shard, by_name[path.name]))
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
            paths = [file for file in path.iterdir() if file.suffix in SUFFIXES]
            what, fix = f"{given} is a folder without token files", made
        elif os.path.lexists(path):
            paths, what = [path], ""
        else:
            paths = [Path(file) for file in glob.glob(str(path))]  # noqa: PTH207  # absolute too
            what = f"{given} is not there"
            fix = fix if path.suffix or glob.has_magic(given) else made
    except (OSError, ValueError) as error:  # not readable; a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            Problem("data.path", f"{given!r} is not readable, {reason}", fix)
        ) from error
    if not paths:
        raise DataError(Problem("data.path", what, fix))
    DataError.raise_for(
        Problem(file, f"no token file by its name, which ends in {file.suffix or 'nothing'}", fix)
        for file in paths
        if file.suffix not in SUFFIXES
    )
    return sorted(paths)


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


def _as_listed(shard: Shard, entry: Entry) -> Shard:
    """A file that is as tokens.json says; raises DataError."""
    held = f"{shard.tokens:,} tokens of {np.dtype(shard.dtype).name}, {shard.size:,} bytes"
    listed = f"{entry.tokens:,} tokens of {entry.dtype}, {entry.bytes:,} bytes"
    if held != listed:
        what = f"{held}, and {MANIFEST} says {listed}"
        raise DataError(Problem(shard.path, what, "restore it, or make the folder again"))
    return replace(shard, split=entry.split, sha256=entry.sha256)


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
