"""The corpus that a config names: its file, read and checked, and cut into splits.

The order is train, test, validation. Validation is the last part, as in nanoGPT; test is cut from
the end of what is left; `data.fraction` keeps a prefix of the training part. So the smaller
training sets of a sweep are nested in the larger ones, and all are judged on the same text.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gptexp import assets, documents, tokenizers
from gptexp.config import Config, DataConfig
from gptexp.corpus import PARTS, Corpus, Splits, TextCorpus
from gptexp.documents import DocumentCorpus
from gptexp.errors import DataError
from gptexp.tokenizers import Tokenizer

_DIGESTS: dict[tuple[Any, ...], str] = {}  # by path and state of the file


def digest(data: DataConfig) -> str:
    """SHA-256 of the corpus file, in hexadecimal: for an asset without reading it.

    A sweep asks for each of its points, so a file that is as it was is not read again.
    """
    if data.asset is not None:
        return assets.known(data.asset).sha256
    try:
        stat = Path(data.path or "").expanduser().stat()
    except (OSError, ValueError):
        return hashlib.sha256(_read_bytes(data)).hexdigest()  # raises what is wrong
    state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if (data.path, state) not in _DIGESTS:
        _DIGESTS[data.path, state] = hashlib.sha256(_read_bytes(data)).hexdigest()
    return _DIGESTS[data.path, state]


def read(data: DataConfig, sha256: str | None = None) -> str:
    """The text of the corpus, which has the digest `sha256` where one is given; raises DataError.

    One rule on every system: a byte order mark at the start is dropped, and CRLF and CR become LF.
    Documents come as documents.py has them.
    """
    raw = _read_bytes(data)
    where = data.path or data.asset
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise DataError(f"{where}: changed while the run was starting. Fix: start it again")
    fix = "Fix: save it as UTF-8 text"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{where}: UTF-16, by the mark at offset 0, line 1. {fix}")
    nul = raw.find(b"\0")
    try:
        text = raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if nul < 0 or error.start < nul:
            bad = f"byte 0x{raw[error.start]:02x} at {_position(raw, error.start)}"
            raise DataError(f"{where}: not UTF-8: {bad}. {fix}") from error
    if nul >= 0:
        raise DataError(f"{where}: not text: a NUL byte at {_position(raw, nul)}. {fix}")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(f"{where}: holds no text, {len(raw)} bytes of nothing. Fix: give a text")
    return documents.normalised(text, data.shuffle, str(where)) if data.documents else text


@dataclass(frozen=True)
class Loaded:
    """What a config's corpus turned out to be."""

    config: Config
    text: str
    tokenizer: Tokenizer
    splits: Splits

    def corpus(self, device: torch.device) -> Corpus:
        """The splits on `device`, as batches of a text or of documents."""
        given = (self.splits, self.config.model.block_size, self.config.seed, device)
        if self.config.data.documents:
            return DocumentCorpus(*given, boundary=documents.boundary(self.tokenizer))
        return TextCorpus(*given)

    def describe(self) -> str:
        """One line: what was found."""
        return describe(
            self.config.data,
            self.text,
            self.tokenizer,
            self.splits,
            self.config.model.block_size,
        )


def load(config: Config, sha256: str | None = None) -> Loaded:
    """Read the corpus, which has that digest where one is given, and cut it; raises DataError."""
    text = read(config.data, sha256)
    tokenizer = tokenizers.build(config.tokenizer, text, documents=config.data.documents)
    splits = split(text, config.data, tokenizer, config.model.block_size)
    return Loaded(config, text, tokenizer, splits)


def split(
    text: str,
    data: DataConfig,
    tokenizer: Tokenizer,
    block_size: int,
    needed: Collection[str] = PARTS,
) -> Splits:
    """Cut `text` by characters, then encode each part; documents are cut between two of them.

    Raises DataError where one of the parts that are needed is too short.
    """
    if data.documents:
        return documents.split(text, data, tokenizer, needed)
    val_start = int(len(text) * (1 - data.val_fraction))
    test_start = int(len(text) * (1 - data.val_fraction - data.test_fraction))
    if data.test_fraction == 0:
        test_start = val_start
    bounds = {
        "train": (0, test_start),
        "test": (test_start, val_start),
        "val": (val_start, len(text)),
    }
    ids = {name: tokenizer.encode(text[start:end]) for name, (start, end) in bounds.items()}
    train = ids["train"][: int(len(ids["train"]) * data.fraction)]
    splits = Splits(train, ids["test"], ids["val"], bounds)
    _check_lengths(splits, data, block_size, needed)
    return splits


def describe(
    data: DataConfig, text: str, tokenizer: Tokenizer, splits: Splits, block_size: int
) -> str:
    """One line: what was found."""
    ids = tokenizer.encode(text)
    if data.documents:
        parts = documents.describe(text, tokenizer, splits, block_size)
    else:
        test = f", {len(splits.test):,} test" if len(splits.test) else ""
        parts = f"{len(splits.train):,} train{test}, {len(splits.val):,} val"
    return (
        f"{data.path or data.asset}: {len(text):,} characters, {len(ids):,} tokens of "
        f"{tokenizer.describe()}; {parts}; "
        f"{bigrams(ids, tokenizer.vocab_size):,} of {tokenizer.vocab_size**2:,} bigrams occur"
    )


def bigrams(ids: NDArray[np.int64], vocab_size: int) -> int:
    """How many different pairs of neighbouring tokens occur."""
    pairs = ids[:-1] * vocab_size + ids[1:]
    if vocab_size**2 > len(pairs):
        return len(np.unique(pairs))
    return int(np.count_nonzero(np.bincount(pairs)))  # ten times as fast as sorting


def _read_bytes(data: DataConfig) -> bytes:
    if data.asset is not None:
        return assets.read(data.asset)
    path = Path(data.path or "").expanduser()
    try:
        if path.is_dir():
            problem = "a folder, not a file"
        elif path.exists() and not path.is_file():
            problem = "not a regular file"
        else:
            return path.read_bytes()
    except FileNotFoundError:
        problem = "not there"
    except OSError as error:
        problem = f"not readable, {error.strerror}"
    except ValueError as error:  # a NUL in the name
        problem = f"not readable, {error}"
    shown = str(path).encode("unicode_escape").decode()  # one line, whatever the name
    raise DataError(f"data.path: {shown} is {problem}. Fix: data.path=FILE, a readable UTF-8 text")


def _position(raw: bytes, offset: int) -> str:
    line = len(re.findall(rb"\r\n|\r|\n", raw[:offset])) + 1
    return f"offset {offset}, line {line}"


def _check_lengths(
    splits: Splits, data: DataConfig, block_size: int, needed: Collection[str]
) -> None:
    parts = {"train": splits.train, "val": splits.val}
    if data.test_fraction:
        parts["test"] = splits.test
    parts = {name: ids for name, ids in parts.items() if name in needed}
    shortest = min(len(ids) for ids in parts.values())
    problems = []
    for name, ids in parts.items():
        if len(ids) > block_size:
            continue
        problem = f"model.block_size: {block_size} needs {block_size + 1} tokens in each split, "
        problem += f"and {name} has {len(ids)}. Fix: "
        if name == "train" and data.fraction < 1:
            problem += f"a larger data.fraction, now {data.fraction:g}, or a longer text"
        elif shortest >= 2:
            problem += f"model.block_size={shortest - 1} at most, or a longer text"
        else:
            problem += "a longer text, or another data.fraction and data.val_fraction"
        problems.append(problem)
    if problems:
        raise DataError(*problems)
