"""Sets of combinations in which each pair of choices occurs."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Combination = dict[str, Any]


def pairwise(choices: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Combinations of one value a key, such that any two values of two keys stand together in one.

    Greedy: each begins with a pair that is left, and takes of every other key the value that
    covers most of them. Always the same for the same choices.
    """
    keys = list(choices)
    left = {
        ((one, i), (other, j)): None  # a dict keeps the order
        for one, other in combinations(keys, 2)
        for i in range(len(choices[one]))
        for j in range(len(choices[other]))
    }
    found: list[Combination] = []
    while left:
        taken = dict(next(iter(left)))
        for key in keys:
            if key not in taken:
                options = range(len(choices[key]))
                taken[key] = max(options, key=lambda i: len(_covered(taken | {key: i}, key, left)))
        for pair in list(left):
            if all(taken[key] == index for key, index in pair):
                del left[pair]
        found.append({key: choices[key][taken[key]] for key in keys})
    return found


def _covered(taken: dict[str, int], key: str, left: Mapping[Any, None]) -> list[Any]:
    """The pairs of a key's value with the others' that are still left."""
    mine = (key, taken[key])
    others = [(name, index) for name, index in taken.items() if name != key]
    return [each for each in others if (mine, each) in left or (each, mine) in left]
