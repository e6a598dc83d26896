"""What the points do not tell is said, and what they tell is not."""

import numpy as np
from law_points import KNOWN, datablations, grid

from gptexp.laws.bootstrap import draw_fits
from gptexp.laws.fit import Fit, fit_law
from gptexp.laws.forms import LAWS
from gptexp.laws.identified import unidentified
from gptexp.laws.points import Points

EPOCHS = (1.0, 3.0, 10.0, 40.0)


def why_not(name: str, points: Points, draws: int = 60) -> dict[str, str]:
    fit = fit_law(LAWS[name], points)
    drawn = draw_fits(fit, points, draws)
    return unidentified(fit, points, np.percentile(drawn, [5, 95], axis=0).T)


def test_a_grid_that_is_wide_enough_tells_every_parameter():
    assert why_not("chinchilla", grid("chinchilla", noise=0.002)) == {}
    assert why_not("overfitting", grid("overfitting", noise=0.002, epochs=EPOCHS)) == {}


def test_models_that_learned_something_do_not_tell_the_loss_of_one_that_knows_nothing():
    found = why_not("bounded", datablations(), draws=40)
    assert found["L0"].startswith("anything from ")
    assert {"a", "b", "c"} <= found.keys()  # which are by what is left up to it
    assert "alpha" not in found


def test_a_term_that_the_points_do_not_need_is_named():
    law, points = LAWS["overfitting"], grid("chinchilla", noise=0.002, epochs=EPOCHS)
    found = why_not("overfitting", points)
    assert {"P", "delta", "kappa"} <= found.keys()  # the points have no harm of repeats
    assert not {"E", "alpha", "beta"} & found.keys()
    values = {"P": 1e-9, "delta": 1.0, "kappa": 1.0}
    at = law.coordinates(KNOWN["chinchilla"] | values)
    found = unidentified(Fit(law, at, 0.0), points, np.stack([at, at], axis=1))
    assert found == {
        "P": "its term is not needed: without it the law says the same",
        "delta": "no loss tells it",
        "kappa": "no loss tells it",
    }


def test_a_valley_is_flat_where_sizes_are_few_and_close():
    points = grid("chinchilla", noise=0.01)
    near = points.take((points.n > 1e7) & (points.tokens > 1e9))
    found = why_not("chinchilla", near)
    assert {"E", "B", "beta"} <= found.keys()
    assert all(reason.startswith(("anything from ", "at the edge")) for reason in found.values())


def test_an_exponent_at_a_bound_is_not_known():
    law, points = LAWS["chinchilla"], grid("chinchilla", noise=0.01)
    at = law.coordinates(KNOWN["chinchilla"] | {"alpha": 3.0, "A": 1e18})
    edges = np.stack([at - 0.01, at + 0.01], axis=1)
    found = unidentified(Fit(law, at, 0.0), points, edges)
    assert found == {"alpha": "at the edge of what was tried, 3"}


def test_a_parameter_that_moves_no_loss_is_not_known_however_narrow_its_interval():
    law = LAWS["data_constrained"]
    points = grid("data_constrained", noise=0.002, epochs=EPOCHS)
    small = points.take(points.n < 1e8)
    at = law.coordinates(KNOWN["data_constrained"] | {"A": 1e9})  # all models are too small
    found = unidentified(Fit(law, at, 0.0), small, np.stack([at, at], axis=1))
    assert found["R_N_star"] == "no loss tells it"
