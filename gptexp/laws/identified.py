"""Which parameters of a law the points tell, and why not the others."""

import numpy as np

from gptexp.laws.fit import Fit
from gptexp.laws.law import Parameter
from gptexp.laws.points import Array, Points

EDGE = 1e-3  # of the range of a coordinate
NIL = 0.1  # of what the law is off by, as the median: a change of the losses that nobody sees


def unidentified(fit: Fit, points: Points, edges: Array) -> dict[str, str]:
    """Why the points do not tell a parameter, by its name.

    `edges` are the ends of intervals, in coordinates [parameter, 2]. A parameter that moves no loss
    has none that tells anything: its draws stay where the fit began.
    """
    fitted = fit.law.log_loss(fit.at, points)
    unseen = max(1e-9, NIL * float(np.median(np.abs(points.log_loss - fitted))))

    def moves(i: int, coordinate: float) -> bool:
        """Whether a loss changes, as far as one sees, where a coordinate is another."""
        at = fit.at.copy()
        at[i] = coordinate
        return bool(np.abs(fit.law.log_loss(at, points) - fitted).max() > unseen)

    def why_not(i: int, parameter: Parameter) -> str:
        low, high = parameter.coordinate(parameter.low), parameter.coordinate(parameter.high)
        if parameter.is_term and not moves(i, float(low)):
            return "its term is not needed: without it the law says the same"
        if not EDGE < (fit.at[i] - low) / (high - low) < 1 - EDGE:
            return f"at the edge of what was tried, {parameter.value(fit.at[i]):g}"
        near = parameter.coordinate(
            parameter.value(fit.at[i]) * parameter.vague ** np.array([-0.5, 0.5])
        )
        if not any(moves(i, x) for x in np.clip(near, low, high)):
            return "no loss tells it"
        least, most = (parameter.value(x) for x in edges[i])
        if most > parameter.vague * least:
            return f"anything from {least:.2g} to {most:.2g} says much the same"
        return ""

    parameters = enumerate(fit.law.parameters)
    return {one.name: reason for i, one in parameters if (reason := why_not(i, one))}
