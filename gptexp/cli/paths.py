"""Paths that are typed after a verb: a shell leaves the `~` of `--to=~/page` to the program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptexp.files import at_home


def home(value: Path | Sequence[Path] | None) -> Any:
    """The value, or values, of an argument or option of paths, with `~` as the user's folder."""
    if value is None or isinstance(value, Path):
        return value and at_home(value)
    return [at_home(path) for path in value]
