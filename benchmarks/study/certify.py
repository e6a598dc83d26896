"""Which learning rate and weight decay a size has: the best at the smallest and largest text.

Of the grid of a text, whatever lies beside the best point so far is trained, until nothing beside
it is left: the best is then lower than its neighbours, or at an edge, and said to be.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.lines import Line

START = (3e-3, 0.1)  # learning rate and weight decay, where the search of a grid begins
LR, DECAY, WIDTH, FRACTION = "optim.lr", "optim.weight_decay", "model.n_embd", "data.fraction"
CERTIFIED, INTERPOLATED = "certified", "interpolated"
DEFAULTS = {LR: 1e-3, DECAY: 0.01, WIDTH: 128, FRACTION: 1.0}  # where a line holds none


Cell = Mapping[tuple[float, float], str]  # hash by learning rate and weight decay


@dataclass(frozen=True)
class End:
    """The best of the grid at one text."""

    fraction: float
    lr: float
    decay: float
    edges: tuple[str, ...]  # of the grid that it lies at, in words


@dataclass(frozen=True)
class Rates:
    """What one size has at its smallest and largest text, and in between."""

    ends: tuple[End, End]

    def at(self, fraction: float) -> tuple[float, float, str]:
        """Learning rate, weight decay, and where they came from.

        Between the ends their logarithms are straight lines over that of the fraction.
        """
        low, high = self.ends
        for end in self.ends:
            if end.fraction == fraction:
                return end.lr, end.decay, CERTIFIED
        share = math.log(fraction / low.fraction) / math.log(high.fraction / low.fraction)
        lr = _between(low.lr, high.lr, share)
        return lr, _between(low.decay, high.decay, share), INTERPOLATED


def wanted(cell: Cell, lines: Mapping[str, Line]) -> set[str]:
    """The points of one text's grid that are to be trained next; none once the best is known.

    `lines` are of any points, by hash.
    """
    over = {rates: lines[one] for rates, one in cell.items() if one in lines}
    if not over:
        return {cell[min(cell, key=_from_start)]}
    done = {rates: line for rates, line in over.items() if line.done}
    lowest = [min(done, key=lambda rates: done[rates].best.loss)] if done else list(over)  # type: ignore[union-attr, arg-type, return-value]
    beside = {other for rates in lowest for other in _beside(rates, cell)}
    return {cell[rates] for rates in beside - over.keys()}


def _from_start(rates: tuple[float, float]) -> float:
    return sum(abs(math.log(one / other)) for one, other in zip(rates, START, strict=True))


def _beside(rates: tuple[float, float], cell: Cell) -> Iterator[tuple[float, float]]:
    """The next lower and higher learning rate, and the same of weight decay."""
    for axis in (0, 1):
        values = sorted({other[axis] for other in cell})
        place = values.index(rates[axis])
        for value in values[max(place - 1, 0) : place + 2]:
            other = (value, rates[1]) if axis == 0 else (rates[0], value)
            if other != rates and other in cell:
                yield other


def certified(
    lines: Mapping[str, Line], cells: Mapping[tuple[int, float], Cell]
) -> dict[int, Rates]:
    """The rates by width, of widths whose best is known at both ends.

    `lines` are by hash, `cells` by width and fraction.
    """
    known = {}
    for width in sorted({width for width, _ in cells}):
        fractions = sorted(fraction for other, fraction in cells if other == width)
        both = [cells[width, fraction] for fraction in (fractions[0], fractions[-1])]
        if len(fractions) < 2 or any(wanted(cell, lines) for cell in both):
            continue
        ends = [best([lines[one] for one in cell.values() if one in lines]) for cell in both]
        if None not in ends:
            known[width] = Rates((ends[0], ends[1]))  # type: ignore[arg-type]
    return known


def best(lines: Sequence[Line]) -> End | None:
    """The values with the lowest best loss among lines of one text; None where none is done."""
    done = [line for line in lines if line.done]
    if not done:
        return None
    lowest = min(done, key=lambda line: line.best.loss)  # type: ignore[union-attr, arg-type, return-value]
    edges = []
    for key, word in ((LR, "learning rate"), (DECAY, "weight decay")):
        values = sorted({value_of(line, key) for line in lines})
        if len(values) > 1 and value_of(lowest, key) in (values[0], values[-1]):
            edges.append(f"{word} at the edge of its grid")
    fraction, lr, decay = (value_of(lowest, key) for key in (FRACTION, LR, DECAY))
    return End(fraction, lr, decay, tuple(edges))


def value_of(line: Line, key: str) -> float:
    """A value of a line's config, which holds what is no default."""
    return float(line.config.get(key, DEFAULTS[key]))


def _between(low: float, high: float, share: float) -> float:
    """A value on the logarithmic scale, in three digits."""
    return float(f"{math.exp((1 - share) * math.log(low) + share * math.log(high)):.3g}")
