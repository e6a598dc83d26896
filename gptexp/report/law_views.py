"""The numbers behind the figures of a law: curves with bands, a map, errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptexp.laws.bootstrap import LEVEL
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.points import Array, Points
from gptexp.text import short

Rows = NDArray[np.intp]  # their numbers among the points

MOST_CURVES = 8  # that one figure can tell apart

WIDTHS = (1.0, 1.26, 3.2)  # times that tokens of one curve may differ, tried in this order

ON_CURVES, ON_MAP = 0.75, 0.25  # share of the points that curves, or a cliff, should show

GRID = 60  # values of a drawn curve, and of each side of a map

MARGIN = 1.15  # times that a curve goes on beyond the measured sizes


@dataclass(frozen=True)
class Curve:
    """The loss over sizes at one number of unique tokens and of tokens seen, by law and measured.

    Losses that were measured at about so many tokens stand where the law moves them to: multiplied
    by the law's loss at the curve's tokens over its loss at their own.
    """

    label: str
    values: tuple[float, ...]  # that order its colour among the others
    n: Array  # [place]
    loss: Array  # by the law
    low: Array  # of the law's band
    high: Array
    sizes: Array  # [point]
    measured: Array
    moved: bool  # whether a point has other tokens than the curve


@dataclass(frozen=True)
class LossMap:
    """Losses, or what repeats add to them, over sizes and tokens, by law and measured."""

    is_cliff: bool  # over unique tokens, what the loss is above that of as many new tokens
    tokens: float | None  # seen, of a cliff
    n: Array  # [column]
    down: Array  # unique tokens, or tokens seen [row]
    value: Array  # [row, column]
    sizes: Array  # [point]
    at: Array  # unique tokens, or tokens seen, of each point
    measured: Array
    moved: bool


@dataclass(frozen=True)
class Errors:
    """What a law said of rows that it was not fitted to."""

    law: str
    side: str  # what the rows are the largest of
    label: str
    measured: Array  # losses [row]
    percent: Array  # that the law's are above


def errors(judged: Sequence[JudgedLaw]) -> list[Errors]:
    """Those of every law, by what was left out."""
    return [
        Errors(
            law=one.fit.law.name,
            side=side,
            label=f"{one.fit.law.name}, largest {side}: {100 * away.error:.2f}%",
            measured=away.measured,
            percent=100 * (away.predicted / away.measured - 1),
        )
        for one in judged
        for side, away in one.held_out.items()
    ]


def has_repeats(judged: JudgedLaw, points: Points) -> bool:
    """Whether tokens were seen twice, and the law tells them from new ones."""
    return judged.fit.law.of_repeats and bool((points.epochs > 1.001).any())


def band(judged: JudgedLaw, points: Points) -> tuple[Array, Array]:
    """Between what losses [row] the law's own lies, with the probability LEVEL, by its draws."""
    drawn = judged.fit.law.log_loss(judged.draws, points)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.exp(np.percentile(drawn, [tail, 100 - tail], axis=0))
    return low, high


def curves(judged: JudgedLaw, points: Points) -> list[Curve]:
    """Curves of the tokens at which most sizes were trained, in the order of those."""
    repeated = has_repeats(judged, points)
    found = _alike(
        [points.unique, points.tokens] if repeated else [points.tokens],
        lambda rows: len(np.unique(points.n[rows])),
        MOST_CURVES,
        ON_CURVES,
    )
    made = [_curve(judged, points.take(rows), points.n, repeated) for rows in found]
    return sorted(made, key=lambda curve: curve.values)


def loss_map(judged: JudgedLaw, points: Points) -> LossMap | None:
    """The cliff of a law of repeats, else the loss; None where a side would have one value."""
    if has_repeats(judged, points):
        return _cliff(judged, points)
    if len(np.unique(points.n)) < 2 or len(np.unique(points.tokens)) < 2:
        return None
    n, tokens = _between(points.n, MARGIN), _between(points.tokens, MARGIN)
    value = judged.fit.loss(_grid(n, tokens, tokens))
    return LossMap(
        False,
        None,
        n=n,
        down=tokens,
        value=value.reshape(GRID, GRID),
        sizes=points.n,
        at=points.tokens,
        measured=points.loss,
        moved=False,
    )


def _cliff(judged: JudgedLaw, points: Points) -> LossMap | None:
    places = np.stack([points.n, points.unique])
    [rows] = _alike(
        [points.tokens], lambda rows: np.unique(places[:, rows], axis=1).shape[1], 1, ON_MAP
    )
    some = points.take(rows)
    if len(np.unique(some.n)) < 2 or len(np.unique(some.unique)) < 2:
        return None
    tokens = _middle(some.tokens)
    n, unique = _between(some.n, MARGIN), _between(some.unique, MARGIN)
    value = _added(judged, _grid(n, unique, np.full(GRID, tokens)))
    here = _points(some.n, tokens, some.unique)
    measured = some.loss * judged.fit.loss(here) / judged.fit.loss(some)
    return LossMap(
        True,
        tokens,
        n=n,
        down=unique,
        value=value.reshape(GRID, GRID),
        sizes=some.n,
        at=here.unique,
        measured=measured - judged.fit.loss(_points(some.n, tokens, np.full(len(some), tokens))),
        moved=bool(np.ptp(some.tokens) > 0),
    )


def _added(judged: JudgedLaw, points: Points) -> Array:
    """What the law's loss [row] is above that of as many tokens, each of them new."""
    return judged.fit.loss(points) - judged.fit.loss(
        Points.of(points.n, points.tokens, points.loss)
    )


def _curve(judged: JudgedLaw, some: Points, sizes: Array, repeated: bool) -> Curve:
    tokens, unique = _middle(some.tokens), _middle(some.unique)
    n = _between(sizes, MARGIN)
    line, here = _points(n, tokens, unique), _points(some.n, tokens, unique)
    low, high = band(judged, line)
    words = f"{short(tokens, digits=3)} tokens"
    if repeated:
        words = f"{short(unique, digits=3)} unique, {tokens / unique:.3g} epochs"
    return Curve(
        label=words,
        values=(unique, tokens) if repeated else (tokens,),
        n=n,
        loss=judged.fit.loss(line),
        low=low,
        high=high,
        sizes=some.n,
        measured=some.loss * judged.fit.loss(here) / judged.fit.loss(some),
        moved=bool(np.ptp(some.tokens) > 0 or (repeated and np.ptp(some.unique) > 0)),
    )


def _alike(
    columns: Sequence[Array], rank: Callable[[Rows], int], most: int, share: float
) -> list[Rows]:
    """The groups of rows, alike in columns, that rank highest; at most so many.

    As much alike as leaves that share of all rows in them, if any of WIDTHS does.
    """
    groups: list[Rows] = []
    for width in WIDTHS:
        levels = np.stack([_levels(column, width) for column in columns])
        _, group = np.unique(levels, axis=1, return_inverse=True)
        found = [np.flatnonzero(group.reshape(-1) == number) for number in range(group.max() + 1)]
        groups = sorted(found, key=rank, reverse=True)[:most]
        if sum(map(len, groups)) >= share * len(columns[0]):
            break
    return groups


def _levels(values: Array, width: float) -> Rows:
    """A number for each value, equal for those within so many times of the lowest of theirs."""
    level, first, of = -1, 0.0, {}
    for value in np.unique(values):
        if level < 0 or value > first * width * (1 + 1e-9):
            level, first = level + 1, value
        of[value] = level
    return np.array([of[value] for value in values])


def _middle(values: Array) -> float:
    """The geometric mean; of equal values their own."""
    return float(values[0] if np.ptp(values) == 0 else np.exp(np.log(values).mean()))


def _between(values: Array, margin: float = 1.0) -> Array:
    """GRID values from the least to the most, at equal distances of their logarithms."""
    return np.geomspace(values.min() / margin, values.max() * margin, GRID)


def _points(n: Array, tokens: float, unique: Array | float) -> Points:
    """Places without a loss, all with so many tokens seen."""
    seen = np.full(len(n), tokens)
    return Points.of(n, seen, np.ones(len(n)), np.broadcast_to(unique, seen.shape))


def _grid(n: Array, unique: Array, tokens: Array) -> Points:
    """Places without a loss for each pair of a row, with its tokens, and a size [row * column]."""
    size, text = np.meshgrid(n, unique)
    seen = np.repeat(tokens, len(n))
    return Points.of(size.ravel(), seen, np.ones(size.size), text.ravel())
