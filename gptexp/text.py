"""Words for people: numbers, durations, aligned tables, the nearest name."""

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence

from gptexp.errors import Problem

# Control characters, marks that turn or hide what follows, and halves of surrogate pairs.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)

MOST_NAMES = 40  # that a line offers


def printable(text: str) -> str:
    """The text with what commands a terminal, or hides, spelled out: an escape as `\\x1b`.

    Line breaks and tabs stay; the text of a JSON file stays JSON.
    """

    def spelled(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}"

    return UNPRINTABLE.sub(spelled, text)


def short(number: float, digits: int = 0) -> str:
    """The number with a unit, 1234567 as `1.2M`; rounded to so many digits where `digits` says."""
    text = unit = ""
    for unit in ("", "k", "M", "G", "T", "P"):
        text = f"{number:.{digits}g}" if digits else f"{number:.{1 if unit else 0}f}"
        if abs(float(text)) < 1000:
            break
        number /= 1000
    return text + unit


def shortened(text: str, most: int = 60) -> str:
    """The text; of one longer than that, its beginning and its length."""
    return text if len(text) <= most else f"{text[:40]}... ({len(text)} characters)"


def duration(seconds: float) -> str:
    """Seconds as `41:10` or `2:03:00`, and more than a thousand hours as `1,234 days`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 1000:
        return f"{hours / 24:,.0f} days"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `known` that is most like `name`; None where none is at least `cutoff` alike."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def unknown_name(option: str, name: str, known: Sequence[str]) -> Problem:
    """The problem of a name that is not among `known`, with the nearest that is."""
    leaves = {key.rpartition(".")[2]: key for key in known}
    leaf = nearest(name.rpartition(".")[2], leaves, cutoff=0.5)
    near = nearest(name, known) or (leaf and leaves[leaf])
    fix = f"did you mean {near}?" if near else f"use one of {listed(known, most=MOST_NAMES)}"
    return Problem(option, f"{name or 'an empty word'} is not known", fix)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> list[str]:
    """Lines with columns as wide as their cells, each to the right where `right` says so."""
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


def in_shell(word: object) -> str:
    """A path, or another word, as one types it in a shell, where it may hold spaces."""
    return shlex.quote(str(word))


def plain(value: object) -> str:
    """A value of the config as one would type it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.12g}"
    return str(value)


def listed(items: Sequence[object], most: int = 5) -> str:
    """The first few of the items in one line, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(str(item) for item in items[:most]) + more


def plural(number: int, noun: str) -> str:
    """A number with its noun: `1 layer` or `4 layers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
