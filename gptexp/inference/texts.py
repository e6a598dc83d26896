"""Texts as their tokens come: whole characters alone, and nothing behind a stop string."""

from collections.abc import Sequence
from typing import NamedTuple

from gptexp.tokenizers.base import Tokenizer

REPLACEMENT = "\ufffd"  # what bytes decode to that are no character, or not one yet


class Piece(NamedTuple):
    """What came to one of several texts."""

    number: int  # of the text, from 0
    added: str
    is_last: bool


class GrowingText:
    """The text of one row of tokens, told piece by piece; the pieces joined are all of it."""

    __slots__ = ("_before", "_held", "_open", "is_stopped", "stop", "tokenizer")

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.is_stopped = False  # at a stop string; there is no more
        self._before: list[int] = []  # tokens decoded last: some tokenizers look back at them
        self._open: list[int] = []  # tokens that may end within a character
        self._held = ""  # may be the begin of a stop string

    def add(self, token: int) -> str:
        """What is certain to be in the text now; empty where that hangs on the next token."""
        self._open.append(token)
        text = self._decoded()
        if text.endswith(REPLACEMENT):
            return ""
        self._before, self._open = self._open, []
        return self._before_stop(text)

    def rest(self) -> str:
        """What was held back of a text that ends here."""
        text = self._before_stop(self._decoded())
        return text if self.is_stopped else text + self._held

    def _decoded(self) -> str:
        both = self.tokenizer.decode(self._before + self._open)
        return both[len(self.tokenizer.decode(self._before)) :]

    def _before_stop(self, text: str) -> str:
        """What stands before the first stop string; what may be the begin of one is held."""
        text = self._held + text
        places = [place for stop in self.stop if (place := text.find(stop)) >= 0]
        if places:
            self.is_stopped, self._held = True, ""
            return text[: min(places)]
        begins = (stop[:size] for stop in self.stop for size in range(1, len(stop)))
        held = max((len(begin) for begin in begins if text.endswith(begin)), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]
