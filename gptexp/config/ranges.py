"""Ranges that several sections ask for."""

import math
from collections.abc import Iterator

from gptexp.errors import Problem


def positive(key: str, value: int) -> Iterator[Problem]:
    """A problem for a whole number below 1, or of more than 63 bits."""
    if value < 1:
        yield Problem(key, f"{value} is below 1", f"{key}=1 or more")
    else:
        yield from _countable(key, value, "1 or more")


def not_negative(key: str, value: float) -> Iterator[Problem]:
    """A problem for a number below 0, an infinity, NaN, or a whole one of more than 63 bits."""
    if not 0 <= value < math.inf:
        yield Problem(key, f"{value} is not a finite number of at least 0", f"{key}=0 or more")
    else:
        yield from _countable(key, value, "0 or more")


def above_zero(key: str, value: float, instead: str) -> Iterator[Problem]:
    """A problem for a number that is not finite and above 0; `instead` is a value that is.

    Likewise for a whole one of more than 63 bits.
    """
    if not 0 < value < math.inf:
        yield Problem(key, f"{value} is not a finite number above 0", f"{key}={instead}")
    else:
        yield from _countable(key, value, "1 or more")


def share(key: str, value: float, instead: str) -> Iterator[Problem]:
    """A problem for a number outside [0, 1); `instead` is a value inside."""
    if not 0 <= value < 1:
        yield Problem(key, f"{value} is not in [0, 1)", f"{key}={instead}")


def _countable(key: str, value: float, range_: str) -> Iterator[Problem]:
    """A problem for a whole number that no tensor and no file of a run can hold."""
    if isinstance(value, int) and value >= 2**63:
        yield Problem(key, f"{value} is not below 2^63", f"{key}={range_}, and less than that")
