"""Byte pairs: one token per byte, and one for each merge of two tokens before it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.errors import CheckpointError, DataError, Problem
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.byte import utf_8

END_OF_TEXT = "<|endoftext|>"  # GPT-2's last token: its own texts were joined by it

PIECE = 2**16  # characters that the library is given at once, as it keeps words on each token


class BytePairTokenizer(Tokenizer):
    """Any text, cut into words by GPT-2's pattern, whose bytes are merged in a fixed order.

    Nothing of a text is normalised, and nothing in it is more than text: `<|endoftext|>` has an id
    in GPT-2's vocabulary, but is encoded by its letters. The work is done by Hugging Face
    tokenizers.
    """

    def __init__(self, name: str, merges: str) -> None:
        """`merges` has a line for each, `Ġ t`, in GPT-2's signs for bytes.

        Raises DataError without the library, and for a line that joins what is not there.
        """
        library = imported()
        self.name, self.merges = name, merges
        signs = byte_signs()
        ids = {sign: number for number, sign in enumerate(signs)}
        pairs = [tuple(line.split(" ")) for line in merges.splitlines()]
        for number, pair in enumerate(pairs, start=1):
            if len(pair) != 2 or not ids.keys() >= set(pair):
                what = f"merge {number:,}, {' '.join(pair)!r:.40}, joins no two tokens before it"
                raise DataError(Problem("tokenizer", what, "another list of merges"))
            ids.setdefault("".join(pair), len(ids))
        self._bytes = [bytes(signs[sign] for sign in token) for token in ids]
        self.ids = dict(ids)  # of each token, in GPT-2's signs for bytes
        if name == "gpt2":
            self.end_of_text = len(ids)
            self._bytes.append(END_OF_TEXT.encode())
            self.ids[END_OF_TEXT] = len(ids)
        self.vocab_size = len(self._bytes)
        self._model = library.Tokenizer(library.models.BPE(ids, pairs))
        self._model.pre_tokenizer = cutter(library)

    def encode(self, text: str) -> NDArray[np.int64]:
        utf_8(text)  # raises for what has no bytes
        # Without the places of tokens in the text, in two thirds of the time.
        ids = [self._model.encode_batch_fast([piece])[0].ids for piece in pieces(text)]
        return np.concatenate([np.zeros(0, np.int64), *(np.array(part, np.int64) for part in ids)])

    def decode(self, ids: NDArray[np.int64] | list[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 (a model may sample such) become U+FFFD."""
        return b"".join(self._bytes[int(i)] for i in ids).decode(errors="replace")

    def byte_lengths(self) -> NDArray[np.int64]:
        return np.array([len(token) for token in self._bytes], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "merges": self.merges}

    def describe(self) -> str:
        return f"{self.vocab_size:,} byte pairs{' of GPT-2' if self.name == 'gpt2' else ''}"

    @classmethod
    def from_dict(cls, name: str, merges: str) -> "BytePairTokenizer":
        """The tokenizer of a checkpoint; raises CheckpointError for merges that do not fit.

        Without the library, DataError.
        """
        imported()
        try:
            return cls(name, merges)
        except DataError as error:
            [problem] = error.problems
            fix = "another checkpoint: this one was written by other code"
            raise CheckpointError(Problem("tokenizer", f"{name}: {problem.what}", fix)) from error


def imported() -> Any:
    """The library; raises DataError where it is not installed."""
    try:
        import tokenizers  # a tenth of a second, for these tokenizers alone
    except ImportError as error:
        what = "byte pairs need Hugging Face tokenizers, which is not installed"
        raise DataError(Problem("tokenizer", what, "pip install -e '.[bpe]'")) from error
    return tokenizers


def cutter(library: Any) -> Any:
    """What cuts a text into words before any bytes are merged, and has a sign for each byte."""
    return library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def pieces(text: str) -> Iterator[str]:
    """The text in pieces of some PIECE characters, which end where a word ends in any case.

    That is where white space follows something else: no word of GPT-2's pattern reaches over that,
    and none depends on what stands before it.
    """
    start = 0
    while len(text) - start > PIECE:
        end = start + PIECE
        while end < len(text) and not (text[end] in " \n" and not text[end - 1].isspace()):
            end += 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def byte_signs() -> dict[str, int]:
    """The byte of each of GPT-2's signs, in the order of ids: of a character that is seen in print.

    The others have those from U+0100 on.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in printed]
    others = {chr(0x100 + number): byte for number, byte in enumerate(hidden)}
    return {chr(byte): byte for byte in printed} | others
