"""The best size and the best number of tokens for a budget of compute, by isoFLOP curves.

Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556): of runs that cost nearly the same, the loss
over the logarithm of the parameters is a parabola, and its lowest place is the best size for that
budget.
"""

import numpy as np

from gptexp.laws.law import coefficient
from gptexp.laws.observed import Rejected, Rejections
from gptexp.laws.points import Array, Points, geometric_mean
from gptexp.laws.power_law import (
    DRAWS,
    LawOfOptima,
    NoLaw,
    Optimum,
    Profile,
    columns,
    fit_power,
    hold_out_largest,
    power,
)
from gptexp.laws.valley import curve, members, nearly_one, valley
from gptexp.text import plural

NAME = "isoflop"
SIZE = (coefficient("k"), power("a"))
DATA = (coefficient("l"), power("b"))

# Shares of 1: by how much more a run may cost than the next cheaper one of its budget, and the
# dearest of a budget than its cheapest.
NEAR = 0.05
WIDEST = 0.3


def isoflop(
    points: Points, flops: Array | None = None, draws: int = DRAWS, seed: int = 0
) -> LawOfOptima | NoLaw:
    """N and T that are best for compute C, as N = k C^a and T = l C^b.

    `flops` [row] is what each run cost; without it, 6 N T (Kaplan et al. 2020, arXiv 2001.08361).
    """
    cost = 6 * points.n * points.tokens if flops is None else flops
    profiles: list[Profile] = []
    optima: list[Optimum] = []
    rejected = Rejections()
    alone = 0  # runs of costs that fewer than three sizes have
    for rows in members(nearly_one(cost, NEAR)):
        profile = _profile(points.take(rows), cost[rows])
        if profile is None:
            alone += len(rows)
        elif isinstance(profile, str):
            rejected.add(Rejected(f"{geometric_mean(cost[rows]):.3g} FLOPs", profile))
        else:
            profiles.append(profile)
            optima.append(_optimum(points.take(rows), profile))
    if alone:
        why = "no budget: fewer than 3 sizes cost as much"
        rejected.add(Rejected(plural(alone, "point"), why))
    compute, (n, tokens) = columns(optima, "flops"), columns(optima, "n", "tokens").T
    size = fit_power(SIZE, compute, n, draws, seed)
    data = fit_power(DATA, compute, tokens, draws, seed)
    if isinstance(size, str) or isinstance(data, str):
        return NoLaw(NAME, str(size), rejected)
    largest = hold_out_largest(SIZE, compute, n, largest=compute[:, 0])
    return LawOfOptima(
        name=NAME,
        what="the best N",
        formula="N = k C^a and T = l C^b are best for C FLOPs",
        source="Hoffmann et al. 2022, arXiv 2203.15556, approach 2",
        fits=(size, data),
        unidentified={},
        held_out={} if largest is None else {"budgets": largest},
        optima=optima,
        rejected=rejected,
        profiles=profiles,
    )


def _profile(points: Points, cost: Array) -> Profile | str | None:
    """The losses of a budget, or why none is best; None of fewer than three sizes."""
    sizes = curve(points.n, points.loss, nearly_one(points.unique))
    if len(sizes) < 3:
        return None
    if cost.max() > cost.min() * (1 + WIDEST):
        return f"no budget: its runs cost {cost.min():.3g} to {cost.max():.3g}, without a gap"
    lowest = valley(sizes)
    return lowest if isinstance(lowest, str) else Profile(geometric_mean(cost), sizes, lowest)


def _optimum(points: Points, profile: Profile) -> Optimum:
    """What is best for a budget."""
    place, loss = profile.valley.place, profile.valley.loss
    # Tokens go with parameters as the budget has it, whatever a FLOP of this model is.
    log_tokens = np.polyfit(points.log_n - place, points.log_tokens, 1)[1]
    n, tokens = float(np.exp(place)), float(np.exp(log_tokens))
    return {"flops": profile.flops, "n": n, "tokens": tokens, "loss": loss}
