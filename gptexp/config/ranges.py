"""Ranges that several sections ask for."""

import math
from collections.abc import Iterator

from gptexp.errors import Problem


def positive(key: str, value: int) -> Iterator[Problem]:
    """A problem for a whole number below 1, or of more than 63 bits."""
    if value < 1:
        yield Problem(key, f"{value} is below 1", f"{key}=1 or more")
    elif value >= 2**63:
        yield Problem(key, f"{value} is not below 2^63", f"{key}=1 or more, and less than that")


def not_negative(key: str, value: float) -> Iterator[Problem]:
    """A problem for a number below 0, an infinity or NaN."""
    if not (math.isfinite(value) and value >= 0):
        yield Problem(key, f"{value} is not a finite number of at least 0", f"{key}=0 or more")


def above_zero(key: str, value: float, instead: str) -> Iterator[Problem]:
    """A problem for a number that is not finite and above 0; `instead` is a value that is."""
    if not (math.isfinite(value) and value > 0):
        yield Problem(key, f"{value} is not a finite number above 0", f"{key}={instead}")


def share(key: str, value: float, instead: str) -> Iterator[Problem]:
    """A problem for a number outside [0, 1); `instead` is a value inside."""
    if not 0 <= value < 1:
        yield Problem(key, f"{value} is not in [0, 1)", f"{key}={instead}")
