"""Ranges that several sections ask for."""

import math
from collections.abc import Iterator


def positive(key: str, value: int) -> Iterator[str]:
    if value < 1:
        yield f"{key}: {value} is below 1. Fix: {key}=1 or more"


def not_negative(key: str, value: float) -> Iterator[str]:
    if not (math.isfinite(value) and value >= 0):
        yield f"{key}: {value} is not a finite number of at least 0. Fix: {key}=0 or more"
