"""The best learning rate and the best batch over model size and data: Step Law.

Li et al. 2025 (arXiv 2503.04715): of models with N parameters and T tokens, the best learning rate
is a power law of both, and the best batch is one of T.
"""

import numpy as np

from gptexp.laws.observed import Rejected, Rejections, Trials
from gptexp.laws.points import Array, Points
from gptexp.laws.power_law import (
    DRAWS,
    LawOfOptima,
    NoLaw,
    Optimum,
    columns,
    fit_power,
    hold_out_largest,
    logarithm,
    power,
)
from gptexp.laws.trials import beside
from gptexp.laws.valley import Labels, curve, members, valley

NAME = "step_law"
RATE = (logarithm("c"), power("a"), power("b"))
BATCH = (logarithm("d"), power("e"))
HALF_DECADE = np.log(10) / 2  # to each side of the lowest loss: nearer, a valley is flat but noisy


def step_law(trials: Trials, draws: int = DRAWS, seed: int = 0) -> LawOfOptima | NoLaw:
    """The learning rate that is best for N and T, as e^c N^a T^b; the best batch is e^d T^e.

    The loss over one of them is the lowest of any value of the other, and of what else was varied.
    """
    optima, rejected = _optima("lr", trials.points, trials.lr, beside(trials, trials.batch))
    sizes, best = columns(optima, "n", "tokens"), columns(optima, "lr")[:, 0]
    rate = fit_power(RATE, sizes, best, draws, seed)
    if isinstance(rate, str):
        return NoLaw(NAME, rate, Rejections(rejected))
    fits = [rate]
    alike = {"a": "all of the models have one size", "b": "all of the models saw as many tokens"}
    unidentified = {name: why for name, why in alike.items() if name not in rate.values}
    largest = hold_out_largest(RATE, sizes, best, largest=sizes[:, 0])
    if trials.batch is not None:
        others = beside(trials, trials.lr)
        of_batch, unknown = _optima("batch", trials.points, trials.batch, others)
        seen, wide = columns(of_batch, "tokens"), columns(of_batch, "batch")[:, 0]
        batch = fit_power(BATCH, seen, wide, draws, seed)
        if isinstance(batch, str):
            unidentified |= {parameter.name: batch for parameter in BATCH}
        else:
            fits.append(batch)
        optima, rejected = optima + of_batch, rejected + unknown
    return LawOfOptima(
        name=NAME,
        what="the best lr",
        formula="lr = e^c N^a T^b is best"
        + ("" if trials.batch is None else ", and batch = e^d T^e"),
        source="Li et al. 2025, arXiv 2503.04715",
        fits=tuple(fits),
        unidentified=unidentified,
        held_out={} if largest is None else {"models": largest},
        optima=optima,
        rejected=Rejections(rejected),
    )


def _optima(
    name: str, points: Points, values: Array, others: Labels
) -> tuple[list[Optimum], list[Rejected]]:
    """The best value for each N, T and U, and the cells where it is not known."""
    optima: list[Optimum] = []
    rejected = []
    for rows in members(points.cell):
        n, tokens = float(points.n[rows].mean()), float(points.tokens[rows].mean())
        lowest = valley(curve(values[rows], points.loss[rows], others[rows]), HALF_DECADE)
        if isinstance(lowest, str):
            rejected.append(Rejected(f"N={n:.3g} T={tokens:.3g}, best {name}", lowest))
        else:
            optima.append({"n": n, "tokens": tokens, name: float(np.exp(lowest.place))})
    return optima, rejected
