"""Laws judged on points that follow one, for what draws or tells them."""

from dataclasses import replace
from functools import cache

import numpy as np

from gptexp.laws.forms import LAWS
from gptexp.laws.judge import JudgedLaw, judge_laws
from gptexp.laws.observed import Observations, Rejections
from gptexp.laws.optima import laws_of_optima
from gptexp.laws.points import Points

OVERFITTING = {"E": 1.2, "A": 30.0, "B": 500.0, "P": 0.02}
OVERFITTING |= {"alpha": 0.35, "beta": 0.45, "delta": 0.7, "kappa": 0.6}
CHINCHILLA = {name: OVERFITTING[name] for name in ("E", "A", "B", "alpha", "beta")}

SIZES, LENGTHS, TEXTS = (14e3, 55e3, 213e3, 810e3), (2e5, 6e5, 2e6), (2e4, 1e5, 4e6)


def grid(law, values, texts=TEXTS, lengths=LENGTHS, noise=0.003):
    """Points of each size, length and text, whose losses are a law's but for some noise."""
    rows = np.array([(n, t, u) for n in SIZES for u in texts for t in lengths]).T
    points = Points.of(rows[0], rows[1], np.ones(rows.shape[1]), rows[2])
    shaken = np.exp(noise * np.random.default_rng(0).normal(size=len(points)))
    return replace(points, loss=LAWS[law].loss(values, points) * shaken)


def observed(points, *notes):
    """The points as those of a sweep."""
    labels = [f"run {number}" for number in range(len(points))]
    return Observations(points, labels, Rejections(), list(notes), "N: all parameters")


@cache
def repeated() -> tuple[Points, list[JudgedLaw]]:
    """Points of texts that were seen again, and two laws of them: the one that holds first."""
    points = grid("overfitting", OVERFITTING)
    return points, judge_laws([LAWS["chinchilla"], LAWS["overfitting"]], points, draws=20)


@cache
def once() -> tuple[Points, list[JudgedLaw]]:
    """Points of new tokens alone, and the law that they follow."""
    points = grid("chinchilla", CHINCHILLA, texts=(4e6,))
    return points, judge_laws([LAWS["chinchilla"]], points, draws=20)


def budgets(noise=0.1):
    """The law of sizes that are best at the root of a budget, but for some noise."""
    random = np.random.default_rng(0)
    rows = []
    for cost in (1e12, 1e13, 1e14):
        best = np.sqrt(cost) * np.exp(noise * random.normal())
        rows += [(best * x, cost / (6 * best * x), 3 + np.log(x) ** 2) for x in (0.3, 1, 3)]
    [law] = laws_of_optima(observed(Points.of(*np.array(rows).T)))
    return law
