"""What was published of tables comes out of them."""

import numpy as np
import pytest
from law_points import chinchilla_240, datablations

from gptexp.laws.fit import fit_law
from gptexp.laws.forms import LAWS
from gptexp.laws.judge import judge, judge_laws, r_squared

BESIROGLU = {  # estimate and standard error: Besiroglu et al. 2024, table 1 and their repository
    "A": (482.01, 124.5),
    "B": (2085.43, 1293.3),
    "E": (1.8169, 0.0257),
    "alpha": (0.3478, 0.0154),
    "beta": (0.3659, 0.0206),
}
MUENNIGHOFF = {  # the fit of C4 of Muennighoff et al. 2023, by logarithms as they give it
    "E": np.exp(0.6254804),
    "A": np.exp(6.255414),
    "B": np.exp(7.3049974),
    "alpha": 0.3526596,
    "beta": 0.3526596,
    "R_D_star": 15.387756,
    "R_N_star": 5.309743,
}


def test_chinchillas_240_points_give_the_objective_and_the_parameters_that_were_published():
    points = chinchilla_240()
    found = judge(LAWS["chinchilla"], points, draws=200, seed=0)
    assert found.fit.objective == pytest.approx(0.00101827, abs=1e-7)
    for name, (value, error) in BESIROGLU.items():
        assert found.fit.values[name] == pytest.approx(value, abs=0.2 * error), name
        assert found.intervals[name].low < value < found.intervals[name].high, name
    assert found.unidentified == {}
    assert max(one.error for one in found.held_out.values()) < 0.01


def test_the_law_of_repeated_data_has_the_r2_that_was_published_with_decay_and_without():
    points = datablations()
    with_decay = LAWS["data_constrained"].loss(MUENNIGHOFF, points)
    without = LAWS["chinchilla"].loss(MUENNIGHOFF, points)
    assert r_squared(points.loss, with_decay) == pytest.approx(0.77220461, abs=1e-6)
    assert r_squared(points.loss, without) == pytest.approx(0.44516844, abs=1e-6)


def error_above(name: str) -> float:
    """The median error on models above a billion parameters, by a fit to those below."""
    points = datablations()
    small = points.n < 1e9
    assert small.sum() == 128
    away = points.take(~small)
    fit = fit_law(LAWS[name], points.take(small))
    return float(np.median(np.abs(fit.loss(away) / away.loss - 1)))


@pytest.mark.parametrize(("name", "most"), [("chinchilla", 0.025), ("overfitting", 0.029)])
def test_a_law_of_small_models_foretells_the_large(name, most):
    assert error_above(name) < most


@pytest.mark.slow
def test_the_law_that_small_models_put_first_foretells_the_large():
    points = datablations()
    first, *_ = judge_laws(list(LAWS.values()), points.take(points.n < 1e9), draws=10)
    assert error_above(first.fit.law.name) < 0.029
