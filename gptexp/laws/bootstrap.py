"""How far the parameters of a law may lie from the fit: by fits to losses drawn anew."""

import numpy as np

from gptexp.laws.fit import Fit, fit_law
from gptexp.laws.points import Array, Points

DRAWS = 200
LEVEL = 0.9  # share of the draws that an interval holds


def draw_fits(fit: Fit, points: Points, draws: int = DRAWS, seed: int = 0) -> Array:
    """Coordinates [draw, parameter] of fits to the law's own losses and residuals put back.

    Residuals of the logarithm, each of any row (Efron 1979), and by sqrt(rows / (rows -
    parameters)) larger, since a fit makes them smaller.
    """
    random = np.random.default_rng(seed)
    fitted = fit.law.log_loss(fit.at, points)
    residuals = np.log(points.loss) - fitted
    rows, free = len(points), len(fit.at)
    residuals *= np.sqrt(rows / max(1, rows - free))
    drawn = []
    for _ in range(draws):
        loss = np.exp(fitted + random.choice(residuals, rows))
        drawn.append(fit_law(fit.law, points.with_loss(loss), begin=fit.at).at)
    return np.array(drawn)
