"""Bare ids: tokens of which nobody says what they stand for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.errors import DataError, Problem
from gptexp.tokenizers.base import Tokenizer

MOST_IDS = 2**31  # tokens of a vocabulary, of which each id has four bytes in a file


class TokenIds(Tokenizer):
    """Each token is its number: `464 3290 ` are two."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids of numbers with white space between them; raises DataError for all else."""
        words = text.split()
        for word in words:
            # Of nineteen digits at most: int() takes minutes for a million of them.
            if not (word.isascii() and word.isdecimal() and len(word) < 20) or (
                int(word) >= self.vocab_size
            ):
                what = f"{word[:20]!r} is no token: these have numbers alone, and no text"
                fix = f"numbers from 0 to {self.vocab_size - 1}, as 46 32"
                raise DataError(Problem("text", what, fix))
        if not words and text:
            what = "white space alone, which is no token: these have numbers and no text"
            raise DataError(Problem("text", what, "numbers, as 46 32"))
        return np.array([int(word) for word in words], dtype=np.int64)

    def decode(self, ids: NDArray[np.int64] | list[int]) -> str:
        return "".join(f"{int(token)} " for token in ids)

    def byte_lengths(self) -> NDArray[np.int64]:
        """0 for each, since no text is known: there are no bits per byte."""
        return np.zeros(self.vocab_size, np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"name": "ids", "vocab_size": self.vocab_size}

    def describe(self) -> str:
        return f"{self.vocab_size:,} bare ids"
