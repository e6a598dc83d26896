"""Predictions of several models as one: by hand; the fitted weight against a grid of them."""

import numpy as np
import pytest

from gptexp.analysis import mixing


def draw(seed, tokens=400):
    """The probabilities that a model gave to some tokens."""
    return np.random.default_rng(seed).beta(0.7, 1.5, tokens)


def test_averages_are_those_of_the_probabilities():
    models = [draw(seed) for seed in range(3)]
    found = [np.exp(mean) for mean in mixing.averages([np.log(p) for p in models])]
    assert np.array_equal(next(iter(mixing.averages([np.log(models[0])]))), np.log(models[0]))
    for count, mean in enumerate(found, start=1):
        assert mean == pytest.approx(sum(models[:count]) / count)


def test_a_probability_too_small_for_a_float_is_averaged_all_the_same():
    *_, mean = mixing.averages([np.array([-2000.0]), np.array([-2001.0])])
    assert mean == pytest.approx(-2000 + np.log((1 + np.exp(-1)) / 2))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_mixture_has_the_weight_of_the_second(weight):
    first, second = draw(1), draw(2)
    found = np.exp(mixing.mixture(np.log(first), np.log(second), weight))
    assert found == pytest.approx((1 - weight) * first + weight * second)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_weight_is_that_of_a_fine_grid(seed):
    first, second = draw(seed), draw(seed + 10)
    fit = mixing.best_mixture(np.log(first), [np.log(second)])
    weights = np.linspace(0, 1, 2001)
    losses = [-np.log((1 - w) * first + w * second).mean() for w in weights]
    assert fit.weight == pytest.approx(weights[np.argmin(losses)], abs=1e-3)
    assert fit.loss == pytest.approx(min(losses), abs=1e-6)


def test_a_model_that_is_always_better_takes_all_the_weight():
    good, bad = np.log(np.full(50, 0.9)), np.log(np.full(50, 0.1))
    assert mixing.best_mixture(good, [bad]).weight == pytest.approx(0, abs=1e-3)
    assert mixing.best_mixture(bad, [good]).weight == pytest.approx(1, abs=1e-3)


def test_the_one_that_helps_most_is_chosen_and_not_the_one_that_is_best_alone():
    first = np.array([0.9, 0.9, 0.1, 0.1])
    alike, other = np.array([0.95, 0.95, 0.1, 0.1]), np.array([0.05, 0.05, 0.9, 0.9])
    assert -np.log(alike).mean() < -np.log(other).mean()
    fit = mixing.best_mixture(np.log(first), [np.log(alike), np.log(other)])
    assert fit.number == 1 and 0 < fit.weight < 1
