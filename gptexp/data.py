"""A text becomes a Corpus: splits on the device, random training batches, exact evaluation windows.

The order in the file is train, test, validation. Validation is the last part, as in nanoGPT; test
is cut from the end of what is left; `data.fraction` keeps a prefix of the training tokens. So the
smaller training sets of a sweep are nested in the larger ones, and all are judged on the same text.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp import assets
from gptexp.config import DataConfig
from gptexp.errors import DataError
from gptexp.runtime import stream_seed
from gptexp.tokenizers import Tokenizer


@dataclass(frozen=True)
class Splits:
    """Token ids, each of shape [tokens]; `train` is already cut to data.fraction."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    val: NDArray[np.int64]
    bounds: dict[str, tuple[int, int]]  # start and end of each split in the text, in characters


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
    return text


def split(text: str, data: DataConfig, tokenizer: Tokenizer, block_size: int) -> Splits:
    """Cut `text` by characters, then encode each part; raises DataError for a part too short."""
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
    _check_lengths(splits, data, block_size)
    return splits


def describe(data: DataConfig, text: str, tokenizer: Tokenizer, splits: Splits) -> str:
    """One line: what was found."""
    ids = tokenizer.encode(text)
    test = f", {len(splits.test):,} test" if len(splits.test) else ""
    return (
        f"{data.path or data.asset}: {len(text):,} characters, {len(ids):,} tokens of "
        f"{tokenizer.describe()}; {len(splits.train):,} train{test}, {len(splits.val):,} val; "
        f"{bigrams(ids, tokenizer.vocab_size):,} of {tokenizer.vocab_size**2:,} bigrams occur"
    )


def bigrams(ids: NDArray[np.int64], vocab_size: int) -> int:
    """How many different pairs of neighbouring tokens occur."""
    pairs = ids[:-1] * vocab_size + ids[1:]
    if vocab_size**2 > len(pairs):
        return len(np.unique(pairs))
    return int(np.count_nonzero(np.bincount(pairs)))  # ten times as fast as sorting


class Corpus:
    """The splits on the training device, as batches that are pure functions of the step."""

    def __init__(self, splits: Splits, block_size: int, seed: int, device: torch.device) -> None:
        self.block_size = block_size
        self.seed = seed
        self.device = device
        parts = {"train": splits.train, "test": splits.test, "val": splits.val}
        self.tokens = {name: torch.from_numpy(ids).to(device) for name, ids in parts.items()}
        self._offsets = torch.arange(block_size + 1, device=device)

    def size(self, name: str) -> int:
        """Tokens in the split."""
        return self.tokens[name].numel()

    def batch(self, name: str, step: int, sequences: int, rank: int = 0) -> tuple[Tensor, Tensor]:
        """Random inputs and targets, each [sequences, block_size], for one optimizer step.

        A function of (seed, rank, step) alone, so a resumed run needs no state of the data.
        """
        tokens = self.tokens[name]
        key = stream_seed(self.seed, "data", rank, step)
        generator = np.random.Generator(np.random.Philox(key=key))
        drawn = generator.integers(0, tokens.numel() - self.block_size, size=sequences)
        starts = torch.from_numpy(drawn)
        if self.device.type == "cuda":  # from pinned memory the copy waits for nothing
            starts = starts.pin_memory().to(self.device, non_blocking=True)
        rows = tokens[
            starts.to(self.device)[:, None] + self._offsets
        ]  # [sequences, block_size + 1]
        return rows[:, :-1], rows[:, 1:]

    def windows(
        self, name: str, batch_size: int, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every target of the split's first `limit` tokens once, in order.

        Yields inputs and targets [at most batch_size, block_size], then what is left over as one
        shorter window [1, rest].
        """
        tokens = self.tokens[name][:limit]
        inputs, targets = tokens[:-1], tokens[1:]
        full = len(targets) // self.block_size * self.block_size
        if full:
            rows = (part[:full].view(-1, self.block_size) for part in (inputs, targets))
            yield from zip(*(part.split(batch_size) for part in rows), strict=True)
        if full < len(targets):
            yield inputs[None, full:], targets[None, full:]


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


def _check_lengths(splits: Splits, data: DataConfig, block_size: int) -> None:
    parts = {"train": splits.train, "val": splits.val}
    if data.test_fraction:
        parts["test"] = splits.test
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
