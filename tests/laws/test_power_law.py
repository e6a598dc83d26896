"""How what is best goes with compute, size and data."""

import numpy as np
import pytest
from law_tables import shipped

from gptexp.laws.isoflop import SIZE
from gptexp.laws.power_law import fit_power, hold_out_largest, logarithm, power

TWO = (logarithm("c"), power("a"), power("b"))


@pytest.mark.parametrize(
    ("dataset", "variant", "exponent"),
    [
        ("RefinedWeb", ("kaplan", "long", "kaplan", "base"), 0.834),
        ("RefinedWeb", ("standard", "long", "kaplan", "base"), 0.701),
        ("RefinedWeb", ("standard", "short", "kaplan", "base"), 0.604),
        ("RefinedWeb", ("standard", "short", "chinchilla", "base"), 0.571),
        ("RefinedWeb", ("standard", "short", "const", "tuned"), 0.497),
        ("OpenWebText2", ("kaplan", "long", "kaplan", "base"), 0.870),
        ("OpenWebText2", ("standard", "long", "kaplan", "base"), 0.700),
        ("OpenWebText2", ("standard", "short", "kaplan", "base"), 0.602),
        ("OpenWebText2", ("standard", "short", "chinchilla", "base"), 0.569),
        ("OpenWebText2", ("standard", "short", "const", "tuned"), 0.518),
    ],
)
def test_the_exponents_of_porian_et_al_come_out(dataset, variant, exponent):
    names = ("parameters", "warmup", "decay", "settings")
    where = dict(zip(names, variant, strict=True))
    best = shipped("porian_optima.csv", dataset=dataset, **where)
    found = fit_power(SIZE, best["flops"][:, None], best["n"], draws=200)
    assert found.values["a"] == pytest.approx(exponent, abs=6e-4)
    assert found.intervals["a"].low < exponent < found.intervals["a"].high


def test_ninety_of_a_hundred_intervals_hold_the_exponent_however_few_the_optima():
    random = np.random.default_rng(0)
    x = np.array([[1e6, 1e8], [2e6, 2e8], [4e6, 3e8], [8e6, 16e8], [3e6, 6e8]])
    held = np.zeros(3)
    for _ in range(300):
        y = np.exp(2 + np.log(x) @ [-0.7, 0.3] + random.normal(0, 0.1, len(x)))
        found = fit_power(TWO, x, y, draws=400).intervals
        truth = {"c": 2, "a": -0.7, "b": 0.3}
        held += np.array([found[k].low < v < found[k].high for k, v in truth.items()])
    assert (held / 300 > 0.84).all() and (held / 300 < 0.95).all()


def test_what_does_not_vary_has_no_power_and_what_grows_together_is_refused():
    n = np.array([1e6, 2e6, 4e6, 8e6])
    found = fit_power(TWO, np.stack([n, np.full(4, 1e8)], axis=1), n**-0.5)
    assert list(found.values) == ["c", "a"]
    assert found.predict(np.array([[1e8, 1e9]])) == pytest.approx([1e-4])
    assert "grows together" in fit_power(TWO, np.stack([n, 20 * n], axis=1), n**-0.5)


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_too_few_optima_are_refused_by_their_number(rows):
    x = np.array([[1e6, 1e8], [4e6, 1e8], [1e6, 4e8]])[:rows]
    assert isinstance(fit_power(TWO, x, np.ones(rows)), str)


def test_optima_that_are_all_one_have_powers_of_zero_and_explain_nothing():
    found = fit_power(SIZE, np.array([[1.0], [2.0], [4.0]]), np.full(3, 7.0))
    assert (found.values["a"], found.values["k"]) == (0, pytest.approx(7))
    assert found.r2 == 0


def test_what_is_held_out_is_told_by_the_rest():
    x = np.array([[1.0], [2.0], [4.0], [8.0]])
    found = hold_out_largest(SIZE, x, np.array([1.0, 2.0, 4.0, 16.0]), largest=x[:, 0])
    assert found.predicted == pytest.approx([8])
    assert found.error == pytest.approx(0.5)
    assert hold_out_largest(SIZE, x[:2], x[:2, 0], largest=x[:2, 0]) is None
