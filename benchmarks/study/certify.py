"""Which learning rate and weight decay a size has: the best at the smallest and largest text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.lines import Line

LR, DECAY, WIDTH, FRACTION = "optim.lr", "optim.weight_decay", "model.n_embd", "data.fraction"
CERTIFIED, INTERPOLATED = "certified", "interpolated"
DEFAULTS = {LR: 1e-3, DECAY: 0.01, WIDTH: 128, FRACTION: 1.0}  # where a line holds none


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


def certified(
    lines: Sequence[Line], grid: Mapping[tuple[int, float], set[str]]
) -> dict[int, Rates]:
    """The rates by width, of widths whose grid is over at both ends.

    `grid` has the hashes of the points for each width and fraction.
    """
    by_hash = {line.hash: line for line in lines}
    known = {}
    for width in sorted({width for width, _ in grid}):
        fractions = sorted(fraction for other, fraction in grid if other == width)
        wanted = [grid[width, fraction] for fraction in (fractions[0], fractions[-1])]
        if len(fractions) < 2 or not all(hashes <= by_hash.keys() for hashes in wanted):
            continue
        ends = [best([by_hash[one] for one in sorted(hashes)]) for hashes in wanted]
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
