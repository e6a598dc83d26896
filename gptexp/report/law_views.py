"""The numbers behind the figures of a law: curves with bands, a map, errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.laws.bootstrap import ENDS
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.points import Array, Points, geometric_mean
from gptexp.text import short

UNIQUE, TOKENS = "unique", "tokens"  # columns of points

REPEATED = 1.001  # epochs from which on tokens are seen twice

Rows = NDArray[np.intp]  # their numbers among the points

MOST_CURVES = 10  # that one figure can tell apart

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
    values: tuple[float, ...]  # unique tokens and those seen, as far as the law knows them
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

    over: str  # UNIQUE or TOKENS
    cliff_at: float | None  # tokens seen; then value is what is above the loss of as many new ones
    n: Array  # [column]
    down: Array  # of `over` [row]
    value: Array  # [row, column]
    sizes: Array  # [point]
    at: Array  # of `over`
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


def matters(judged: JudgedLaw, points: Points) -> list[str]:
    """Which of UNIQUE and TOKENS change the law's loss at the points.

    Where no token was seen twice, TOKENS alone, since they are both.
    """
    if not (points.epochs > REPEATED).any():
        return [TOKENS]
    losses = judged.fit.loss(points)
    moved = {
        UNIQUE: replace(points, unique=points.unique / 2),
        TOKENS: replace(points, tokens=points.tokens * 2),
    }
    return [name for name, changed in moved.items() if (judged.fit.loss(changed) != losses).any()]


def has_cliff(judged: JudgedLaw, points: Points) -> bool:
    """Whether tokens were seen twice, and the law tells them from new ones."""
    return len(matters(judged, points)) == 2


def band(judged: JudgedLaw, points: Points) -> tuple[Array, Array]:
    """Between what losses [row] the law's own lies, by its draws: see bootstrap.LEVEL."""
    drawn = judged.fit.law.log_loss(judged.draws, points)
    low, high = np.exp(np.percentile(drawn, ENDS, axis=0))
    return low, high


def curves(judged: JudgedLaw, points: Points) -> list[Curve]:
    """Curves of the tokens at which most sizes were trained, in the order of those."""
    names = matters(judged, points)
    groups = _alike(
        points,
        names,
        lambda rows: len(np.unique(points.n[rows])),
        MOST_CURVES,
        ON_CURVES,
    )
    made = [_curve(judged, points.take(rows), points.n, names) for rows in groups]
    return sorted(made, key=lambda curve: curve.values)


def loss_map(judged: JudgedLaw, points: Points) -> LossMap | None:
    """The cliff of a law that has one, else the loss; None where a side would have one value."""
    names = matters(judged, points)
    if len(names) == 2:
        return _cliff(judged, points)
    at = getattr(points, names[0])
    if len(np.unique(points.n)) < 2 or len(np.unique(at)) < 2:
        return None
    n, down = _between(points.n), _between(at)
    value = judged.fit.loss(_grid(n, down, down))
    return LossMap(
        names[0],
        None,
        n=n,
        down=down,
        value=value.reshape(GRID, GRID),
        sizes=points.n,
        at=at,
        measured=points.loss,
        moved=False,
    )


def _cliff(judged: JudgedLaw, points: Points) -> LossMap | None:
    places = np.stack([points.n, points.unique])

    def rank(rows: Rows) -> tuple[int, float]:
        repeated = rows[points.epochs[rows] > REPEATED]
        return np.unique(places[:, repeated], axis=1).shape[1], points.tokens[rows].max()

    [rows] = _alike(points, [TOKENS], rank, 1, ON_MAP)
    members = points.take(rows)
    if len(np.unique(members.n)) < 2 or len(np.unique(members.unique)) < 2:
        return None
    tokens = geometric_mean(members.tokens)
    n, unique = _between(members.n), _between(members.unique)
    value = _added(judged, _grid(n, unique, np.full(GRID, tokens)))
    on_map = _points(members.n, tokens, members.unique)
    measured = members.loss * judged.fit.loss(on_map) / judged.fit.loss(members)
    all_new = _points(members.n, tokens, np.full(len(members), tokens))
    return LossMap(
        UNIQUE,
        tokens,
        n=n,
        down=unique,
        value=value.reshape(GRID, GRID),
        sizes=members.n,
        at=on_map.unique,
        measured=measured - judged.fit.loss(all_new),
        moved=bool(np.ptp(members.tokens) > 0),
    )


def _added(judged: JudgedLaw, points: Points) -> Array:
    """What the law's loss [row] is above that of as many tokens, each of them new."""
    return judged.fit.loss(points) - judged.fit.loss(
        Points.of(points.n, points.tokens, points.loss)
    )


def _curve(judged: JudgedLaw, members: Points, sizes: Array, names: Sequence[str]) -> Curve:
    tokens, unique = geometric_mean(members.tokens), geometric_mean(members.unique)
    n = _between(sizes)
    line, on_curve = _points(n, tokens, unique), _points(members.n, tokens, unique)
    low, high = band(judged, line)
    middles = {UNIQUE: unique, TOKENS: tokens}
    return Curve(
        label=_label(unique, tokens, names),
        values=tuple(middles[name] for name in names),
        n=n,
        loss=judged.fit.loss(line),
        low=low,
        high=high,
        sizes=members.n,
        measured=members.loss * judged.fit.loss(on_curve) / judged.fit.loss(members),
        moved=any(np.ptp(getattr(members, name)) > 0 for name in names),
    )


def _label(unique: float, tokens: float, names: Sequence[str]) -> str:
    """The tokens of a curve: `100k unique, 15 epochs`, or as much of it as matters."""
    if UNIQUE not in names:
        return f"{short(tokens, digits=3)} tokens"
    words = f"{short(unique, digits=3)} unique"
    return f"{words}, {tokens / unique:.3g} epochs" if TOKENS in names else f"{words} tokens"


def _alike(
    points: Points, names: Sequence[str], rank: Callable[[Rows], Any], most: int, share: float
) -> list[Rows]:
    """The groups of rows, alike in columns of these names, that rank highest; at most so many.

    As much alike as leaves that share of all rows in groups of several sizes, if any of WIDTHS
    does.
    """
    groups: list[Rows] = []
    for width in WIDTHS:
        levels = np.stack([_levels(getattr(points, name), width) for name in names])
        _, group = np.unique(levels, axis=1, return_inverse=True)
        alike = [np.flatnonzero(group.reshape(-1) == number) for number in range(group.max() + 1)]
        groups = sorted(alike, key=rank, reverse=True)[:most]
        if sum(len(rows) for rows in groups if np.ptp(points.n[rows]) > 0) >= share * len(points):
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


def _between(values: Array) -> Array:
    """GRID values, at equal distances of their logarithms, MARGIN beyond both ends."""
    return np.geomspace(values.min() / MARGIN, values.max() * MARGIN, GRID)


def _points(n: Array, tokens: float, unique: Array | float) -> Points:
    """Places without a loss, all with so many tokens seen."""
    seen = np.full(len(n), tokens)
    return Points.of(n, seen, np.ones(len(n)), np.broadcast_to(unique, seen.shape))


def _grid(n: Array, unique: Array, tokens: Array) -> Points:
    """Places without a loss for each pair of a row, with its tokens, and a size [row * column]."""
    size, text = np.meshgrid(n, unique)
    seen = np.repeat(tokens, len(n))
    return Points.of(size.ravel(), seen, np.ones(size.size), text.ravel())
