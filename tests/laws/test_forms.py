"""The formulas are those of the papers, written out for one model."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from law_points import KNOWN, grid

from gptexp.laws.forms import LAWS
from gptexp.laws.points import Points

N, U, R = 3e8, 2e9, 6.0  # parameters, unique tokens, epochs
T = U * R


def loss(name: str, n: float = N, tokens: float = T, unique: float = U) -> float:
    points = Points.of([n], [tokens], [1.0], [unique])
    return float(LAWS[name].loss(KNOWN[name], points)[0])


def test_chinchillas_law_counts_a_token_as_often_as_it_is_seen():
    assert loss("chinchilla") == pytest.approx(1.8 + 480 / N**0.35 + 2100 / T**0.37)


def test_kaplans_law_is_of_the_size_of_the_text():
    expected = ((8.8e13 / N) ** (0.076 / 0.095) + 5.4e13 / U) ** 0.095
    assert loss("kaplan") == pytest.approx(expected)


def test_repeated_tokens_and_spare_parameters_are_worth_less_and_less():
    a, b, alpha, r_d, r_n = 520, 1490, 0.353, 15.4, 5.3
    seen = U + U * r_d * (1 - exp(-(R - 1) / r_d))
    best = (a / b) ** (1 / alpha) * U  # alpha is beta: A / N^alpha = B / U^alpha
    spare = N / best - 1
    assert spare > 0
    size = best + best * r_n * (1 - exp(-spare / r_n))
    assert loss("data_constrained") == pytest.approx(1.87 + a / size**alpha + b / seen**alpha)
    small = 1.87 + a / 1e6**alpha + b / U**alpha  # no parameter is spare, no token seen again
    assert loss("data_constrained", n=1e6, tokens=U) == pytest.approx(small)


def test_overfitting_has_its_price_from_the_second_epoch_on():
    chinchilla = 2.0 + 500 / N**0.34 + 21000 / T**0.47
    assert loss("overfitting") == pytest.approx(chinchilla + 0.05 * (R - 1) ** 0.5 * (N / U) ** 0.7)
    assert loss("overfitting", unique=T) == pytest.approx(chinchilla)


def test_a_bounded_loss_lies_between_its_limits():
    h = 100 / N**0.35 + 3000 / T**0.45 + 0.03 * N**0.4 / U**0.3
    assert loss("bounded") == pytest.approx(1.5 + (8.0 - 1.5) * h / (1 + h))
    assert loss("bounded", n=1e-9) == pytest.approx(8.0, rel=1e-3)
    assert loss("bounded", n=1e30, unique=1e300, tokens=1e300) == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("name", ["chinchilla", "kaplan", "overfitting"])
def test_where_the_grid_has_the_exponents_a_fit_begins_at_the_truth(name):
    law, points = LAWS[name], grid(name, epochs=(1.0, 4.0))
    on_grid = {one.name: one.grid[0] for one in law.parameters if one.grid}
    points = replace(points, loss=law.loss(KNOWN[name] | on_grid, points))
    off = np.abs(law.log_loss(law.starts(points), points) - points.log_loss).max(axis=1)
    assert off.min() < 1e-3


@pytest.mark.parametrize("name", list(LAWS))
def test_a_fit_begins_within_the_bounds(name):
    low, high = LAWS[name].bounds()
    starts = LAWS[name].starts(grid(name, epochs=(1.0, 4.0)))
    assert len(starts) > 6
    assert ((low <= starts) & (starts <= high)).all()
