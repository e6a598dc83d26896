"""Which parts of a trace are shown, and paragraphs and tables of at most WIDTH columns."""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from torch import Tensor

from gptexp.config import GPTConfig, Norm
from gptexp.explain.trace import Layer, Trace

WIDTH = 96

POSITIONS = 8  # of a text that are shown


@dataclass(frozen=True)
class Stage:
    """One heading with what stands under it."""

    title: str
    source: str  # see code()
    lines: list[str]


def code(*definitions: Any) -> str:
    """The files of classes or functions below gptexp/, each with their names, in one line."""
    files: dict[str, list[str]] = {}
    for definition in definitions:
        file = "/".join(definition.__module__.split(".")[1:]) + ".py"
        files.setdefault(file, []).append(definition.__qualname__)
    return ", ".join(f"{file}: {', '.join(names)}" for file, names in files.items())


def places(trace: Trace) -> list[tuple[int, str]]:
    """The positions that are shown, each with its token as a label."""
    return [(place, trace.vocabulary[token]) for place, token in enumerate(trace.ids[:POSITIONS])]


def ends(layers: list[Layer]) -> list[tuple[int, Layer]]:
    """The layers that are shown, with their numbers from 1, as in dashboards: first and last."""
    return [(i + 1, layers[i]) for i in sorted({0, len(layers) - 1})]


def left_out(trace: Trace) -> list[str]:
    """A line that says which layers are not shown, if there are any."""
    last = len(trace.layers)
    between = "Layer 2 is" if last == 3 else f"Layers 2 to {last - 1} are"
    return wrapped(f"{between} not shown.") if last > 2 else []


def norm_name(model: GPTConfig) -> str:
    return "RMSNorm" if model.norm is Norm.rmsnorm else "LayerNorm"


def rms(vector: Tensor) -> float:
    """Root of the mean square: the typical size of its numbers."""
    return vector.square().mean().sqrt().item()


def wrapped(words: str, first: str = "   ", others: str = "   ") -> list[str]:
    """A paragraph, whose lines begin with `first` and `others`."""
    return textwrap.wrap(
        words, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )


def table(rows: Sequence[Sequence[str]], gap: int = 3, indent: str = "   ") -> list[str]:
    """Lines of columns as wide as they need to be, the first to the left, others to the right."""
    widths = [max(map(width, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = []
    for first, *others in rows:
        cells = [padded(first, widths[0])]
        cells += [_right(cell, size) for cell, size in zip(others, widths[1:], strict=False)]
        lines.append(indent + (" " * gap).join(cells))
    return lines


def beside(blocks: list[list[str]]) -> list[str]:
    """Blocks of equal height and width beside each other, as many as fit, in rows as even."""
    size, count = width(blocks[0][0]), len(blocks)
    rows = -(-count // max(1, WIDTH // size))
    across = -(-count // rows)
    lines: list[str] = []
    for start in range(0, count, across):
        gap = [""] if start else []
        row = blocks[start : start + across]
        lines += gap + ["".join(parts) for parts in zip(*row, strict=True)]
    return lines


def padded(text: str, columns: int) -> str:
    """The text with spaces after it, up to so many columns."""
    return text + " " * (columns - width(text))


def width(text: str) -> int:
    """Columns that a terminal needs: two for a wide character, none for one that combines."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _right(text: str, columns: int) -> str:
    return " " * (columns - width(text)) + text
