"""What every tokenizer is."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Tokenizer(ABC):
    """A reversible map between text and token ids in [0, vocab_size).

    One of own code has two class methods too: `build(config, text)`, from the dataclass that it is
    registered with and the whole corpus, and `from_dict(state)`, the inverse of to_dict.
    """

    vocab_size: int
    end_of_text: int | None = None  # the token after a document, where there is one

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
        """All that tokenizer_from_dict needs, in plain values."""

    @abstractmethod
    def describe(self) -> str:
        """The vocabulary in words, as `65 characters`."""
