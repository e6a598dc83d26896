"""The parameters of a law are found: those it was made by, and those that others find."""

from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from law_points import KNOWN, datablations, grid
from scipy.optimize import least_squares

from gptexp.laws.fit import DELTA, Fit, derivatives, descend, fit_draws, fit_law, objective
from gptexp.laws.forms import LAWS

EPOCHS = (1.0, 3.0, 10.0, 40.0)  # so often a text is seen, for laws that tell


def made_by(name: str, **options: float) -> Fit:
    """A law fitted to points that were made by it."""
    points = grid(name, epochs=EPOCHS if LAWS[name].of_repeats else (1.0,), **options)
    return fit_law(LAWS[name], points)


@pytest.mark.parametrize("name", list(LAWS))
def test_a_law_is_found_again_in_points_that_were_made_by_it(name):
    found = made_by(name)
    assert found.objective < 1e-9
    assert found.values == pytest.approx(KNOWN[name], rel=0.02)


@pytest.mark.parametrize("name", list(LAWS))
def test_noise_moves_the_parameters_little(name):
    found = made_by(name, noise=0.002)
    for parameter in LAWS[name].parameters:
        value, true = found.values[parameter.name], KNOWN[name][parameter.name]
        assert 1 / 1.6 < value / true < 1.6, parameter.name


def test_a_few_points_far_off_change_little():
    points = grid("chinchilla", noise=0.001)
    spoiled = points.loss * np.where(np.arange(len(points)) % 12 == 5, 1.3, 1.0)
    found = fit_law(LAWS["chinchilla"], replace(points, loss=spoiled))
    assert found.values == pytest.approx(KNOWN["chinchilla"], rel=0.15)


def test_a_descent_ends_where_that_of_scipy_ends():
    law, points = LAWS["chinchilla"], grid("chinchilla", noise=0.01)
    begin = law.coordinates(KNOWN["chinchilla"]) * 1.1
    theirs = least_squares(
        lambda at: law.log_loss(at, points) - points.log_loss,
        begin,
        jac=lambda at: derivatives(law, at, points),
        loss="huber",
        f_scale=DELTA,
        x_scale="jac",
        xtol=1e-14,
        ftol=1e-14,
        max_nfev=2000,
    )
    [at], [score] = descend(law, points, begin[None], points.log_loss[None])
    assert score == pytest.approx(theirs.cost, rel=1e-6)
    assert at == pytest.approx(theirs.x, abs=1e-3)


def test_fits_side_by_side_are_those_of_one_after_another(monkeypatch):
    points = grid("chinchilla", noise=0.005)
    fit = fit_law(LAWS["chinchilla"], points)
    losses = np.stack([grid("chinchilla", noise=0.005, seed=i).log_loss for i in range(1, 6)])
    together = fit_draws(fit, points, losses)
    monkeypatch.setattr("gptexp.laws.fit.AT_ONCE", 1)
    assert fit_draws(fit, points, losses) == pytest.approx(together, abs=1e-6)


def test_derivatives_are_those_of_the_formula():
    law, points = LAWS["chinchilla"], grid("chinchilla")
    at = law.coordinates(KNOWN["chinchilla"])
    share = KNOWN["chinchilla"]["A"] * points.n**-0.35 / points.loss
    found = derivatives(law, at, points)
    assert found[:, 1] == pytest.approx(share, rel=1e-6)
    assert found[:, 3] == pytest.approx(-share * points.log_n, rel=1e-6)
    assert derivatives(law, np.stack([at, at]), points).shape == (2, len(points), 5)


def test_the_objective_is_hubers():
    assert objective(np.array([0.5e-3])) == pytest.approx(0.125e-6)
    assert objective(np.array([-3e-3, 0.0])) == pytest.approx(1e-3 * 2.5e-3)


def test_a_parameter_stays_within_its_bounds():
    points = grid("chinchilla")
    rising = replace(points, loss=points.loss.max() / points.loss)  # the loss goes up with the size
    found = fit_law(LAWS["chinchilla"], rising)
    low, high = LAWS["chinchilla"].bounds()
    assert ((low <= found.at) & (found.at <= high)).all()


def test_a_descent_goes_on_along_a_bound():
    found = fit_law(LAWS["data_constrained"], datablations())
    assert found.values["R_N_star"] == pytest.approx(1e4)
    assert found.objective == pytest.approx(0.00661667, abs=1e-8)  # scipy's least_squares too


@pytest.mark.slow
def test_a_thousand_fits_to_a_thousand_points_take_seconds():
    points = grid("chinchilla", noise=0.01, sizes=40, texts=25)
    assert len(points) == 1000
    fit = fit_law(LAWS["chinchilla"], points)
    begin = process_time()  # others may be busy
    losses = points.log_loss + 0.01 * np.random.default_rng(0).standard_normal((1000, 1000))
    assert fit_draws(fit, points, losses).shape == (1000, 5)
    assert process_time() - begin < 30
