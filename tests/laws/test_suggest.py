"""Which points are to be measured next: those that narrow most for what they cost."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from gptexp.laws.fit import Fit
from gptexp.laws.forms import LAWS
from gptexp.laws.points import Array, Points
from gptexp.laws.suggest import Known, Suggestion, next_point

LAW = LAWS["chinchilla"]
VALUES = {"E": 1.69, "A": 40.0, "B": 41.0, "alpha": 0.34, "beta": 0.28}
SIZES, TOKENS = [5e4, 2e5, 8e5], [1e6, 3e6, 1e7]
TARGET = Points.of([1e8], [1e9], [1.0])
NOISE = 0.005


def grid(sizes: list[float], tokens: list[float]) -> Points:
    n, seen = np.array(list(product(sizes, tokens))).T
    return Points.of(n, seen, np.ones(len(n)))


def known() -> Known:
    """The law of VALUES, and nine points around it."""
    fit = Fit(LAW, LAW.coordinates(VALUES), objective=0.0)
    points = grid(SIZES, TOKENS)
    random = np.random.default_rng(0)
    return Known(
        fit, replace(points, loss=fit.loss(points) * np.exp(random.normal(0, NOISE, len(points))))
    )


CANDIDATES = grid([5e4, 1e5, 2e5, 4e5, 8e5, 1.6e6], [1e6, 1.7e6, 3e6, 5.5e6, 1e7, 2e7])
FLOPS = 6 * CANDIDATES.n * CANDIDATES.tokens


def suggested(count: int, target: Points | None, one: Known) -> Iterator[Suggestion]:
    """Suggestions one after another, each learned of when the next is asked for."""
    for _ in range(count):
        yield (found := next_point(one, CANDIDATES, FLOPS, target))
        one.learn(CANDIDATES.take(np.array([found.row])))


def spread(what: Known, target: Points | None) -> float:
    """The logarithm of the interval that is to be narrow."""
    if target is not None:
        return float(np.log(what.variance(target)[0])) / 2
    return float(np.linalg.slogdet(what.covariance)[1]) / 2 / len(VALUES)


def gained(rows: Array, target: Points | None) -> float:
    """How much narrower these candidates make it together."""
    one = known()
    before = spread(one, target)
    one.learn(CANDIDATES.take(rows))
    return before - spread(one, target)


@pytest.mark.parametrize("target", [None, TARGET], ids=["of the parameters", "at a target"])
def test_suggestions_narrow_an_interval_more_per_flop_than_random_points_do(target):
    chosen = np.array([one.row for one in suggested(4, target, known())])
    random = np.random.default_rng(0)
    others = [random.choice(len(CANDIDATES), 4, replace=False) for _ in range(200)]
    gains = np.array([gained(rows, target) for rows in others])
    flops = np.array([FLOPS[rows].sum() for rows in others])
    assert gained(chosen, target) / FLOPS[chosen].sum() > np.percentile(gains / flops, 75)
    assert gained(chosen, target) > np.percentile(gains, 75), "not by being cheap alone"


@pytest.mark.parametrize("target", [None, TARGET], ids=["of the parameters", "at a target"])
def test_the_narrowing_that_is_expected_comes_with_the_point(target):
    one = known()
    before = spread(one, target)
    told = [found.narrowing for found in suggested(3, target, one)]
    assert spread(one, target) == pytest.approx(before + np.log1p(-np.array(told)).sum(), abs=1e-6)
    assert min(told) > 0.02


def test_the_interval_after_a_point_is_that_of_a_fit_to_it():
    one, point = known(), CANDIDATES.take(np.array([30]))
    one.learn(point)
    slopes = np.vstack([one.slopes(grid(SIZES, TOKENS)), one.slopes(point)])
    plain = np.linalg.pinv(slopes.T @ slopes / one.noise**2)
    assert one.variance(TARGET)[0] == pytest.approx(
        (one.slopes(TARGET) @ plain @ one.slopes(TARGET).T)[0, 0], rel=0.01
    ), "what the bounds say is next to nothing"


def test_a_suggestion_has_the_loss_that_a_run_of_it_will_have():
    one = known()
    found = next_point(one, CANDIDATES, FLOPS)
    point = CANDIDATES.take(np.array([found.row]))
    assert found.expected.loss == pytest.approx(LAW.loss(VALUES, point)[0])
    by_law = one.predict(point)
    assert found.expected.low < by_law.low < by_law.loss < by_law.high < found.expected.high
    assert found.expected.high / found.expected.loss - 1 > 1.6 * one.noise


def test_parameters_that_the_points_do_not_tell_leave_all_numbers_finite():
    law = LAWS["overfitting"]
    values = VALUES | {"P": 1e-25, "delta": 3.0, "kappa": 0.01}
    fit = Fit(law, law.coordinates(values), objective=0.0)
    points = grid(SIZES, TOKENS)
    one = Known(fit, replace(points, loss=fit.loss(points)))
    for found in suggested(5, None, one):
        assert 0 <= found.narrowing < 1
        assert np.isfinite([found.expected.low, found.expected.high]).all()
