"""Text to token ids and back, exactly. Each tokenizer writes itself into every checkpoint."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.config import ByteTokenizerConfig, CharTokenizerConfig, TokenizerConfig
from gptexp.errors import CheckpointError, DataError

SHOWN = 8  # how many unknown characters an error lists


class Tokenizer(ABC):
    """A reversible map between text and token ids in [0, vocab_size)."""

    vocab_size: int

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids, shape [tokens]; raises DataError for text outside the vocabulary."""

    @abstractmethod
    def decode(self, ids: NDArray[np.int64] | list[int]) -> str:
        """The text of `ids`."""

    @abstractmethod
    def byte_lengths(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each token, shape [vocab_size]: what bits per byte divides by."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All that from_dict needs."""

    @abstractmethod
    def describe(self) -> str:
        """Such as `65 characters`."""


class CharTokenizer(Tokenizer):
    """One token per distinct character, in the order of `characters`."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.vocab_size = len(characters)
        points = _code_points(characters)
        # By code point, and -1 for what is not known, as is all that lies beyond the end.
        self.ids = np.full(int(points.max(initial=0)) + 2, -1, dtype=np.int64)
        self.ids[points] = np.arange(self.vocab_size)

    @classmethod
    def of(cls, text: str, last: str = "") -> "CharTokenizer":
        """The vocabulary of all characters in `text`, by code point, those of `last` at the end."""
        return cls("".join(sorted(set(text) - set(last))) + last)

    def encode(self, text: str) -> NDArray[np.int64]:
        points = _code_points(text)
        ids = self.ids.take(points, mode="clip")
        unknown = np.unique(points[ids < 0])
        if len(unknown):
            raise DataError(
                f"text: the character vocabulary does not have {_listed(unknown)}. "
                "Fix: leave them out, or train with tokenizer=byte"
            )
        return ids

    def decode(self, ids: NDArray[np.int64] | list[int]) -> str:
        return "".join(self.characters[int(i)] for i in ids)

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.array([len(c.encode()) for c in self.characters], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"name": "char", "characters": self.characters}

    def describe(self) -> str:
        return f"{self.vocab_size} characters"


class ByteTokenizer(Tokenizer):
    """One token per byte of UTF-8: any text, 256 tokens, nothing to train."""

    vocab_size = 256

    def encode(self, text: str) -> NDArray[np.int64]:
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"text: has no UTF-8 form at character {error.start}. Fix: type it again"
            ) from error
        return np.frombuffer(data, dtype=np.uint8).astype(np.int64)

    def decode(self, ids: NDArray[np.int64] | list[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 (a model may sample such) become U+FFFD."""
        return bytes(int(i) for i in ids).decode(errors="replace")

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.ones(self.vocab_size, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"name": "byte"}

    def describe(self) -> str:
        return "256 bytes"


def build(cfg: TokenizerConfig, text: str, *, documents: bool = False) -> Tokenizer:
    """The tokenizer that the config asks for; a vocabulary is that of the whole corpus.

    Of documents, the line break between them comes last, where microGPT has its BOS.
    """
    match cfg:
        case CharTokenizerConfig():
            return CharTokenizer.of(text, last="\n" if documents else "")
        case ByteTokenizerConfig():
            return ByteTokenizer()
    raise TypeError(f"no tokenizer for {type(cfg).__name__}")


def from_dict(state: dict[str, Any]) -> Tokenizer:
    """The inverse of to_dict; raises CheckpointError for a tokenizer that is not known."""
    match state:
        case {"name": "char", "characters": str(characters)}:
            return CharTokenizer(characters)
        case {"name": "byte"}:
            return ByteTokenizer()
    raise CheckpointError(
        f"tokenizer: {state.get('name')!r} is not known here. Fix: use the gptexp that trained it"
    )


def difference(checkpoint: Tokenizer, config: Tokenizer) -> str:
    """What differs between two vocabularies, in words; empty when ids mean the same in both."""
    if checkpoint.to_dict() == config.to_dict():
        return ""
    words = f"checkpoint {checkpoint.describe()}, config {config.describe()}"
    if isinstance(checkpoint, CharTokenizer) and isinstance(config, CharTokenizer):
        theirs, ours = _code_points(checkpoint.characters), _code_points(config.characters)
        if len(lost := np.setdiff1d(theirs, ours)):
            words += f", only in the checkpoint {_listed(lost)}"
        if len(new := np.setdiff1d(ours, theirs)):
            words += f", only in the config {_listed(new)}"
        if not len(lost) and not len(new):
            words += ", the same ones in another order"
    return words


def _listed(code_points: NDArray[np.uint32]) -> str:
    """Such as `'q' (U+0071), 'z' (U+007A) and 3 more`."""
    shown = ", ".join(f"{chr(point)!r} (U+{point:04X})" for point in code_points[:SHOWN])
    more = len(code_points) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
