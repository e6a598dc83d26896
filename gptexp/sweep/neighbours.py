"""Points like those that a sweep measured: between them, and one step beyond the largest.

None is smaller than the smallest: there laws of the loss fail first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from gptexp.analysis.records import Run
from gptexp.analysis.scale import is_number
from gptexp.config import BUDGETS
from gptexp.laws.candidates import SHAPE

FRACTION = "data.fraction"
STEP = 2  # from the largest value of a key to the next, at most
DIGITS = 2  # of new values
WIDE = 8  # of which widths are multiples where they are some times as large
MOST = 1e15  # no size of a model or a run is beyond it

Values = dict[str, Any]  # by key


@dataclass(frozen=True)
class Neighbour:
    """A point that could be measured: a run's, but for the values of some keys."""

    base: Run  # the nearest that was measured
    values: Values  # of the keys that make the grid

    @property
    def is_new(self) -> bool:
        """Whether no run has these values."""
        return any(self.base.config.get(key) != value for key, value in self.values.items())


def neighbours(runs: Sequence[Run]) -> list[Neighbour]:
    """All points of the grid around the runs: of shapes, fractions of the text, and lengths.

    The shapes are told by the keys in which the runs differ.
    """
    key = _length_key(runs)
    sound = [run for run in runs if all(map(_is_size, (run.config.get(FRACTION), run.params)))]
    if not sound:
        return []
    axes = [_shapes(sound), _axis(FRACTION, sound, most=1.0)]
    if key is not None and all(_is_size(run.config.get(key)) for run in sound):
        axes.append(_axis(key, sound))
    points = []
    for parts in product(*(axis for axis in axes if len(axis) > 1)):
        values = {key: value for part in parts for key, value in part.items()}
        points.append(Neighbour(min(sound, key=lambda run: _distance(run, values)), values))
    return points


def _shapes(runs: Sequence[Run]) -> list[Values]:
    """Values of the keys in which the shapes of the runs differ: those of the runs, and others."""
    keys = [key for key in SHAPE if len({run.config.get(key) for run in runs}) > 1]
    ordered = sorted(runs, key=lambda run: run.params or 0)
    known = list(dict.fromkeys(tuple(run.config.get(key) for key in keys) for run in ordered))
    pairs = list(pairwise(known))
    new = [[_middle(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs]
    new += [[_beyond(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs[-1:]]
    shapes = [dict(zip(keys, values, strict=True)) for values in known]
    legal = [_legal(dict(zip(keys, values, strict=True)), ordered[-1].config) for values in new]
    return shapes + [shape for shape in legal if shape not in shapes]


def _axis(key: str, runs: Sequence[Run], most: float = MOST) -> list[Values]:
    """The values of a key, those halfway between them by ratios, and one beyond, up to the most."""
    known = sorted({run.config[key] for run in runs})
    before = known[-2] if len(known) > 1 else known[-1] / STEP
    new = [_middle(a, b) for a, b in pairwise(known)] + [min(most, _beyond(before, known[-1]))]
    kind = type(known[-1])
    rounded = {kind(float(f"{value:.{DIGITS}g}")) for value in new}
    return [{key: value} for value in sorted({*known, *rounded})]


def _middle(a: Any, b: Any) -> Any:
    return math.sqrt(a) * math.sqrt(b) if _is_size(a) and _is_size(b) else a


def _beyond(a: Any, b: Any) -> Any:
    return b * min(STEP, max(1.0, b / a)) if _is_size(a) and _is_size(b) else b


def _is_size(value: Any) -> bool:
    return is_number(value) and 0 < value < MOST


def _legal(shape: Values, like: Values) -> Values:
    """The shape in whole numbers, of a width that its heads divide."""
    whole = {
        key: max(1, round(value)) if _is_size(value) else value for key, value in shape.items()
    }
    width: Any = shape.get("model.n_embd")
    if _is_size(width):
        heads: Any = whole.get("model.n_head", like.get("model.n_head"))
        turned = 2 if like.get("model.position") == "rope" else 1  # which turns pairs of numbers
        unit = turned * (heads if _is_size(heads) else 1)
        wide = math.lcm(unit, WIDE)
        unit = wide if width >= 4 * wide else unit
        whole["model.n_embd"] = max(1, round(width / unit)) * unit
    return whole


def _length_key(runs: Sequence[Run]) -> str | None:
    """The key that says how long all of the runs are; None where there are several."""
    budgets = [f"trainer.{key}" for key in BUDGETS]
    keys = {
        next((key for key in budgets if run.config.get(key) is not None), "trainer.max_steps")
        for run in runs
    }
    return keys.pop() if len(keys) == 1 else None


def _distance(run: Run, values: Values) -> float:
    """How far a run is from a point, in logarithms."""
    pairs = [(run.config.get(key), value) for key, value in values.items()]
    return sum(
        abs(math.log(a / b)) if _is_size(a) and _is_size(b) else float(a != b) for a, b in pairs
    )
