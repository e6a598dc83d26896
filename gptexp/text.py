"""Words for people: numbers, durations, aligned tables, the nearest name."""

import difflib
from collections.abc import Sequence

from gptexp.errors import Problem


def short(number: float) -> str:
    """1234567 as `1.2M`."""
    for unit in ("", "k", "M", "G", "T", "P"):
        if number < 1000 or unit == "P":
            break
        number /= 1000
    return f"{number:.1f}{unit}" if unit else f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds as `41:10` or `2:03:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def unknown_name(option: str, name: str, known: Sequence[str]) -> Problem:
    """One line for a name that is not among `known`, with the nearest that is."""
    leaves = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(name, known, n=1) or [
        leaves[leaf]
        for leaf in difflib.get_close_matches(name.rpartition(".")[2], leaves, n=1, cutoff=0.5)
    ]
    fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
    return Problem(option, f"{name or 'an empty word'} is not known", fix)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> list[str]:
    """Lines with columns as wide as what they hold, to the right where `right` says so."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.rjust if to_right else str.ljust for to_right in (right or [False] * len(widths))]
    return [
        "  ".join(
            side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def plural(number: int, noun: str) -> str:
    """A number with its noun: `1 layer` or `4 layers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
