"""`--where`: conditions such as lr=1e-3..3e-3, best<2 or state!=done, which the rows shown meet."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from gptexp.errors import ConfigError, Problem

CONDITION = re.compile(r"\s*([^!<>=]+?)\s*(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)

RANGE = re.compile(r"(.*?)\.\.(.*)")  # both ends are in it, and either may be left out

COMMA = re.compile(r",(?![^\[]*\])")  # between values, not within a list

ORDERS: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}

NOTHING = ("null", "none")  # words for a value that there is not


@dataclass(frozen=True)
class Condition:
    """What one value has to be."""

    name: str  # of a column
    operator: str  # one of != <= >= = < >
    wanted: str  # as it was typed

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.wanted}"

    def holds(self, value: Any) -> bool:
        """Whether a value meets it; one that there is not is neither above nor below anything."""
        if self.operator not in ORDERS:
            return self._is(value) == (self.operator == "=")
        number, limit = _number(value), _number(self.wanted)
        return None not in (number, limit) and ORDERS[self.operator](number, limit)

    def _is(self, value: Any) -> bool:
        """Whether the value is what is wanted, or one of several with commas between them."""
        words = (self.wanted, *COMMA.split(self.wanted))
        return any(_equal(value, word.strip()) for word in words)


def parse(text: str) -> Condition:
    """The condition in words; raises ConfigError."""
    parsed = CONDITION.fullmatch(text)
    if parsed is None:
        fix = "write KEY=VALUE, or with < <= > >= !=, as 'best<2' or lr=1e-3..3e-3"
        raise ConfigError(Problem("--where", f"{text or 'an empty word'} compares nothing", fix))
    name, operator, wanted = parsed[1], parsed[2].replace("==", "="), parsed[3].strip()
    if operator in ORDERS and _number(wanted) is None:
        what = f"{text}: {wanted or 'nothing'} is no number"
        raise ConfigError(Problem("--where", what, f"a number, as {name}{operator}2"))
    return Condition(name, operator, wanted)


def _equal(value: Any, wanted: str) -> bool:
    match value:
        case None:
            return wanted.lower() in NOTHING
        case bool():
            return wanted.lower() == str(value).lower()
        case int() | float():
            return _number(wanted) == value or _within(value, wanted)
        case list():
            return wanted in value
    return str(value) == wanted


def _within(value: float, wanted: str) -> bool:
    if (ends := RANGE.fullmatch(wanted)) is None or wanted == "..":
        return False
    low, high = (_number(end) for end in ends.groups())
    if (low is None and ends[1]) or (high is None and ends[2]):
        return False
    return (low is None or low <= value) and (high is None or value <= high)


def _number(value: Any) -> float | None:
    """The number that a value is or that a word spells; None where it is none."""
    if isinstance(value, bool | list) or value is None:
        return None
    try:
        return float(value)
    except ValueError:
        return None
