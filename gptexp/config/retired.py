"""Keys that a section of the config has no more, but that runs of before hold.

One that is off changes nothing, so a stored config is read as if it were not there, with the same
hash. One that is on is refused, and so is the key in a command. A key that goes is a line of
RETIRED.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from gptexp.errors import Problem, RetiredKeyError
from gptexp.text import plain, shortened


@dataclass(frozen=True)
class Retired:
    """Why a key was taken out."""

    off: Any  # the value with which it did nothing
    why: str
    commit: str  # one that still has it

    @property
    def fix(self) -> str:
        return f"git checkout {self.commit}, which has it"

    def is_off(self, value: Any) -> bool:
        """Of a value that may be anything: a file holds it."""
        return type(value) is type(self.off) and bool(value == self.off)


NOT_SHOWN = ("docs/study.md does not show that it gains", "e5f668ec")

RETIRED = {
    "model.head_gate": Retired(False, *NOT_SHOWN),
    "model.value_residual": Retired(False, *NOT_SHOWN),
    "model.logit_softcap": Retired(None, *NOT_SHOWN),
}


def problem_of(key: str, place: str = "") -> Problem | None:
    """What to tell of a key, as model.head_gate, that a command or a file gives; None of others."""
    if (gone := RETIRED.get(key)) is None:
        return None
    return Problem(key + place, f"was taken out, as {gone.why}", f"leave it out, or {gone.fix}")


def without_off(section: str, node: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a section, of the dataclass `node`, without retired keys that are off."""
    gone = _gone(section, node)
    return {k: value for k, value in values.items() if k not in gone or not gone[k].is_off(value)}


def today(owner: str, nodes: Mapping[str, type], values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a config, whose sections are `nodes`, without retired keys that are off.

    Raises RetiredKeyError, about `owner`, for one that is on.
    """
    left = dict(values)
    for section, node in nodes.items():
        if not isinstance(held := values.get(section), dict):
            continue
        left[section] = held = without_off(section, node, held)
        for key, gone in _gone(section, node).items():
            if key in held:
                value = shortened(plain(held[key]), 40)
                what = f"{section}.{key} is {value}, and the key was taken out, as {gone.why}"
                raise RetiredKeyError(Problem(owner, what, gone.fix))
    return left


@cache
def _gone(section: str, node: type) -> dict[str, Retired]:
    """The retired keys of a section that a dataclass has not: one of own code may have its own."""
    own = {f"{section}.{field.name}" for field in dataclasses.fields(node)}
    return {
        key.removeprefix(f"{section}."): gone
        for key, gone in RETIRED.items()
        if key.startswith(f"{section}.") and key not in own
    }
