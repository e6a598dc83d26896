"""One token per distinct character."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.errors import DataError, Problem
from gptexp.text import listed
from gptexp.tokenizers.base import Tokenizer

SHOWN = 8  # how many unknown characters an error lists


class CharTokenizer(Tokenizer):
    """One token per distinct character, in the order of `characters`."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.vocab_size = len(characters)
        points = code_points(characters)
        # By code point, and -1 for what is not known, as is all that lies beyond the end.
        self.ids = np.full(int(points.max(initial=0)) + 2, -1, dtype=np.int64)
        self.ids[points] = np.arange(self.vocab_size)

    @classmethod
    def of(cls, text: str) -> "CharTokenizer":
        """The vocabulary of all characters in `text`, by code point."""
        return cls("".join(sorted(set(text))))

    def extended(self, characters: str) -> "CharTokenizer":
        """With those of `characters` that it lacks behind its own."""
        return CharTokenizer(
            self.characters + "".join(c for c in characters if c not in self.characters)
        )

    def encode(self, text: str) -> NDArray[np.int64]:
        points = code_points(text)
        ids = self.ids.take(points, mode="clip")
        unknown = np.unique(points[ids < 0])
        if len(unknown):
            raise DataError(
                Problem(
                    "text",
                    f"the character vocabulary does not have {name_characters(unknown)}",
                    "leave them out, or train with tokenizer=byte",
                )
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


def are_characters(tokens: Sequence[Any]) -> bool:
    """Whether each token is one character, another than all others, and there is one."""
    are_single = all(
        isinstance(t, str) and len(t) == 1 and not "\ud800" <= t <= "\udfff" for t in tokens
    )
    return are_single and len({*tokens}) == len(tokens) > 0


def name_characters(points: NDArray[np.uint32]) -> str:
    """The first few characters and how many more: `'q' (U+0071), 'z' (U+007A) and 3 more`."""
    return listed([f"{chr(point)!r} (U+{point:04X})" for point in points], SHOWN)


def code_points(text: str) -> NDArray[np.uint32]:
    """The code point of each character, [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
