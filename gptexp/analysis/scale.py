"""Where the values of a config key stand on an axis: by size, by logarithm, one after another."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gptexp.analysis.groups import sort_key

LONG_WAY = 10  # from the lowest to the highest beside a zero: then the axis is logarithmic


@dataclass(frozen=True)
class Scale:
    """The values of one key in order, each once, with their places: distances on paper."""

    values: list[Any]
    places: list[float]
    kind: str  # log, linear or words

    def place(self, value: Any) -> float:
        """The place of one of the values."""
        return self.places[self.values.index(value)]

    def at(self, place: float) -> float:
        """The number that would stand at a place between the first and the last."""
        first, second = self.values[0], self.places[1]
        if self.kind == "log" and (first > 0 or place > second):
            return math.exp(place)
        # Below the lowest positive value a logarithm never comes to zero, and a straight line does.
        share = (place - self.places[0]) / (second - self.places[0])
        return first + share * (self.values[1] - first)


def scale_of(values: Iterable[Any]) -> Scale:
    """The scale of the values: logarithmic where that puts them at more equal distances.

    The distances are compared by the longest over the shortest, of the numbers and of their
    logarithms. A zero, which has none, stands as far below the next as the others are apart on the
    average; with it the others must go a long way, so that a dropout of 0, 0.1, 0.2, 0.4 is linear.
    What are not all numbers are words, one after another.
    """
    ordered = sorted(dict.fromkeys(values), key=sort_key)
    if not all(map(is_number, ordered)):
        return Scale(ordered, [float(i) for i in range(len(ordered))], "words")
    linear = [float(value) for value in ordered]
    log = _logarithms(linear)
    if log and _unevenness(log) < _unevenness(linear):
        return Scale(ordered, log, "log")
    if len(linear) > 1 and not _unevenness(linear) < math.inf:  # too close, or too far apart
        return Scale(ordered, [float(i) for i in range(len(ordered))], "words")
    return Scale(ordered, linear, "linear")


def is_number(value: Any) -> bool:
    """Whether a value of a config is one to compute with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _logarithms(values: Sequence[float]) -> list[float]:
    """The natural logarithms; empty where there can be none."""
    positive = [value for value in values if value > 0]
    zeros = len(values) - len(positive)
    if len(positive) < 2 or values[0] < 0:
        return []
    log = [math.log(value) for value in positive]
    if not zeros:
        return log
    apart = (log[-1] - log[0]) / (len(log) - 1)
    return [log[0] - apart, *log] if log[-1] - log[0] >= math.log(LONG_WAY) else []


def _unevenness(places: Sequence[float]) -> float:
    """The longest distance between neighbours over the shortest, 1 for equal ones."""
    gaps = [high - low for low, high in pairwise(places)]
    return max(gaps) / min(gaps) if gaps and min(gaps) > 0 else math.inf
