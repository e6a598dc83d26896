"""One token per byte."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.errors import DataError, Problem
from gptexp.tokenizers.base import Tokenizer


class ByteTokenizer(Tokenizer):
    """One token per byte of UTF-8: any text, 256 tokens, nothing to train."""

    vocab_size = 256

    def encode(self, text: str) -> NDArray[np.int64]:
        return np.frombuffer(utf_8(text), dtype=np.uint8).astype(np.int64)

    def decode(self, ids: NDArray[np.int64] | list[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 (a model may sample such) become U+FFFD."""
        return bytes(int(i) for i in ids).decode(errors="replace")

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.ones(self.vocab_size, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"name": "byte"}

    def describe(self) -> str:
        return "256 bytes"


def utf_8(text: str) -> bytes:
    """The bytes of a text; raises DataError for half a surrogate pair, which has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        what = f"has no UTF-8 form at character {error.start}"
        raise DataError(Problem("text", what, "type it again")) from error
