"""Texts on the screen as they are drawn."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from gptexp.console import show
from gptexp.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from gptexp.inference.texts import Piece


def show_texts(pieces: "Iterable[Piece]", count: int, headed: bool) -> None:
    """Show so many texts, which grow side by side, one below another; several `headed` by numbers.

    The first is shown as it grows, the others in their turn. Ctrl-C shows what there is of them,
    and raises typer.Exit.
    """
    headed = headed and count > 1
    heads = [f"--- {n} of {count} ---\n" if headed else "" for n in range(1, count + 1)]
    turns = _Turns(heads)
    try:
        for piece in pieces:
            turns.take(piece)
    except KeyboardInterrupt:
        turns.break_off()
        raise typer.Exit(EXIT_INTERRUPTED) from None


class _Turns:
    """What is not shown yet of each text."""

    def __init__(self, heads: list[str]) -> None:
        self.waiting = heads
        self.is_over = [False for _ in heads]
        self.turn = 0  # the text that is shown as it grows

    def take(self, piece: "Piece") -> None:
        self.waiting[piece.number] += piece.added
        self.is_over[piece.number] = piece.is_last
        while self.turn < len(self.waiting):
            self._show("\n" if self.is_over[self.turn] else "")
            if not self.is_over[self.turn]:
                break
            self.turn += 1

    def break_off(self) -> None:
        """Show the rest of all that was begun."""
        while self.turn < len(self.waiting):
            self._show("\n")
            self.turn += 1

    def _show(self, end: str) -> None:
        if text := self.waiting[self.turn] + end:
            self.waiting[self.turn] = ""
            show(text, end="")
