"""What a law says is best: N and T for a budget of FLOPs, N and T for a text, T before the cliff.

Where more never hurts, what is best is infinite: so say of repeated tokens all laws that do not
tell them from new ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gptexp.laws.bootstrap import ENDS
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.points import Array, Mask, Points

FAR = 1e6  # times the parameters that were measured, and epochs: beyond it is as good as infinite
COARSE = 33  # places at which a valley is looked for
NARROWINGS = 30  # of a valley, each to GOLDEN of it
GOLDEN = (5**0.5 - 1) / 2
ROUNDING = 1e-13  # of the logarithm of a loss
NEAR = 1e-5  # of a logarithm: at the edge

PerToken = Callable[[Array], Array]  # FLOPs of training by a token, of parameters
LogLoss = Callable[[Array], Array]


def six_n(n: Array) -> Array:
    """6 N, forward and backward (Kaplan et al. 2020): attention is not counted."""
    return 6 * n


@dataclass(frozen=True)
class Band:
    """Numbers by the fitted law [place], each with an interval: see bootstrap.LEVEL."""

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Frontier:
    """The best models, each for what is given [place]."""

    given: Array  # FLOPs, or unique tokens
    n: Band
    tokens: Band
    loss: Band
    is_measured: Mask  # N, T and U of the best lie between those that the law was fitted to


def compute_frontier(
    judged: JudgedLaw,
    points: Points,
    flops: Array,
    per_token: PerToken = six_n,
    unique: float = np.inf,
) -> Frontier:
    """The best N and T for each budget of FLOPs [place], of which a token costs `per_token`(N).

    Of a text of `unique` tokens, seen again where the budget is for more. With six_n and
    Chinchilla's law N is (alpha A / (beta B))^(1/(alpha + beta)) (C/6)^(beta/(alpha + beta))
    (Hoffmann et al. 2022); the other laws have no such formula, so all are searched.
    """
    every = _Every(judged)
    budget = every.row(flops)

    def tokens(log_n: Array) -> Array:
        return budget / per_token(np.exp(log_n))

    def log_loss(log_n: Array) -> Array:
        seen = tokens(log_n)
        return every.log_loss(np.exp(log_n), seen, np.minimum(seen, unique))

    best = _lowest(log_loss, np.zeros_like(budget), np.log(budget))
    seen = tokens(best)
    return _frontier(points, flops, np.exp(best), seen, np.minimum(seen, unique), log_loss(best))


def data_frontier(judged: JudgedLaw, points: Points, unique: Array) -> Frontier:
    """The best N and T at any cost for each text of so many tokens [place]."""
    every = _Every(judged)
    text = every.row(unique)

    def log_loss(log_n: Array) -> Array:
        n = np.exp(log_n)
        return every.log_loss(n, np.exp(every.cliff(n, text)), text)

    low, high = np.log(points.n.min() / FAR), np.log(points.n.max() * FAR)
    best = _lowest(log_loss, np.full_like(text, low), np.full_like(text, high))
    seen = every.cliff(np.exp(best), text)
    n, tokens = _unless(best >= high, best), _unless(seen >= np.log(FAR * text), seen)
    return _frontier(points, unique, n, tokens, text, log_loss(best))


def cliff(judged: JudgedLaw, n: Array, unique: Array) -> Band:
    """The tokens seen at which the loss is least: of N parameters and texts of U tokens [place].

    Beyond these more hurts; U itself where one epoch is the best.
    """
    every = _Every(judged)
    text = every.row(unique)
    seen = every.cliff(every.row(n), text)
    return _band(_unless(seen >= np.log(FAR * text), seen))


class _Every:
    """The fitted law, and those of its draws, together: all numbers are [law, place]."""

    def __init__(self, judged: JudgedLaw) -> None:
        self.law = judged.fit.law
        self.at = np.vstack([judged.fit.at, judged.draws])

    def row(self, numbers: Array) -> Array:
        """Numbers [place], for each law."""
        return np.broadcast_to(numbers, (len(self.at), len(numbers))).astype(np.float64)

    def log_loss(self, n: Array, tokens: Array, unique: Array) -> Array:
        nothing = np.zeros(1, np.intp)
        places = Points(n, tokens, unique, loss=n, cell=nothing, run=nothing)
        return self.law.log_loss(self.at, places)

    def cliff(self, n: Array, unique: Array) -> Array:
        """The logarithm of the tokens seen at which the loss is least, up to FAR epochs."""
        return _lowest(
            lambda log_t: self.log_loss(n, np.exp(log_t), unique),
            np.log(unique),
            np.log(FAR * unique),
        )


def _lowest(log_loss: LogLoss, low: Array, high: Array) -> Array:
    """Where a loss is least between two places, by golden sections (Kiefer 1953).

    The valley is that of the best of COARSE places; of places that are equally good, of the highest
    one: the loss of some laws falls to a level.
    """
    coarse = np.linspace(low, high, COARSE)
    losses = np.stack([log_loss(x) for x in coarse])
    good = losses <= losses.min(axis=0) + ROUNDING
    best = COARSE - 1 - np.argmax(good[::-1], axis=0)
    left, right = (np.clip(best + step, 0, COARSE - 1)[None] for step in (-1, 1))
    a, b = (np.take_along_axis(coarse, side, axis=0)[0] for side in (left, right))
    c, d = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
    at_c, at_d = log_loss(c), log_loss(d)
    for _ in range(NARROWINGS):
        is_left = at_c < at_d - ROUNDING
        a, b = np.where(is_left, a, c), np.where(is_left, d, b)
        new = np.where(is_left, b - GOLDEN * (b - a), a + GOLDEN * (b - a))
        at_new = log_loss(new)
        c, d = np.where(is_left, new, d), np.where(is_left, c, new)
        at_c, at_d = np.where(is_left, at_new, at_d), np.where(is_left, at_c, at_new)
    middle = (a + b) / 2
    return np.where(middle < low + NEAR, low, np.where(middle > high - NEAR, high, middle))


def _unless(is_far: Mask, log: Array) -> Array:
    """What the logarithms are of, or infinite."""
    return np.where(is_far, np.inf, np.exp(log))


def _frontier(
    points: Points, given: Array, n: Array, tokens: Array, unique: Array, log_loss: Array
) -> Frontier:
    inside = [
        (measured.min() <= best[0]) & (best[0] <= measured.max())
        for measured, best in [(points.n, n), (points.tokens, tokens), (points.unique, unique)]
    ]
    is_measured = np.logical_and.reduce(inside)
    return Frontier(given, _band(n), _band(tokens), _band(np.exp(log_loss)), is_measured)


def _band(numbers: Array) -> Band:
    """The first of numbers [law, place], and an interval of the others; some may be infinite."""
    low, high = np.percentile(numbers[1:], ENDS, axis=0, method="nearest")
    return Band(numbers[0], low, high)
