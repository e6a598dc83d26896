"""What laws say is best for a budget and for a text, against formulas where there are some."""

import numpy as np
import pytest

from gptexp.laws.fit import Fit
from gptexp.laws.forms import LAWS
from gptexp.laws.frontier import cliff, compute_frontier, data_frontier
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.points import Points

CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
OVERFITTING = CHINCHILLA | {"P": 0.05, "delta": 0.4, "kappa": 0.7}
REPEATS = CHINCHILLA | {"R_D_star": 15.0, "R_N_star": 5.0}
MEASURED = Points.of(n=[1e7, 1e9], tokens=[1e8, 1e12], loss=[3.0, 2.0], unique=[1e8, 1e11])
FLOPS = np.logspace(17, 23, 7)
TEXTS = np.logspace(8, 11, 4)


def law_of(name: str, values: dict[str, float], spread: float = 0.01) -> JudgedLaw:
    """A law with these parameters, and draws of it around them."""
    at = LAWS[name].coordinates(values)
    draws = at + spread * np.random.default_rng(0).normal(size=(40, len(at)))
    fit = Fit(LAWS[name], at, objective=0.0)
    return JudgedLaw(fit, 1.0, draws, intervals={}, unidentified={}, held_out={})


def test_the_best_model_of_a_budget_is_that_of_chinchillas_formula():
    found = compute_frontier(law_of("chinchilla", CHINCHILLA), MEASURED, FLOPS)
    a, b = 0.34, 0.28
    factor = (a * 406.4 / (b * 410.7)) ** (1 / (a + b))
    best = factor * (FLOPS / 6) ** (b / (a + b))
    assert found.n.value == pytest.approx(best, rel=1e-4)
    assert found.tokens.value == pytest.approx(FLOPS / 6 / best, rel=1e-4)
    loss = 1.69 + 406.4 / best**a + 410.7 / (FLOPS / 6 / best) ** b
    assert found.loss.value == pytest.approx(loss, rel=1e-9)


def test_a_frontier_has_a_band_and_says_where_it_leaves_what_was_measured():
    found = compute_frontier(law_of("chinchilla", CHINCHILLA), MEASURED, FLOPS)
    for band in (found.n, found.tokens, found.loss):
        assert (band.low < band.value).all()
        assert (band.value < band.high).all()
    inside = (found.n.value >= 1e7) & (found.n.value <= 1e9) & (found.tokens.value <= 1e11)
    assert found.is_measured.tolist() == inside.tolist()
    assert 0 < inside.sum() < len(FLOPS)


def test_of_a_short_text_and_of_dear_tokens_other_models_are_best():
    law = law_of("overfitting", OVERFITTING)
    free, short = (
        compute_frontier(law, MEASURED, FLOPS, unique=unique) for unique in (np.inf, 1e9)
    )
    assert short.n.value[5] < free.n.value[5] / 2, "of which every token is seen several times"
    assert short.n.value[0] == pytest.approx(free.n.value[0], rel=1e-3), "seen once"
    dear = compute_frontier(law, MEASURED, FLOPS, per_token=lambda n: 6 * n + 1e8)
    assert (dear.n.value > free.n.value).all(), "attention costs a small model the most"
    assert (6 * dear.n.value + 1e8) * dear.tokens.value == pytest.approx(FLOPS)


def test_the_cliff_is_where_the_derivative_over_tokens_is_zero():
    v, n = OVERFITTING, 1e9
    found = cliff(law_of("overfitting", v), np.full(len(TEXTS), n), TEXTS)
    gain = v["beta"] * v["B"] * found.value ** -v["beta"]
    harm = v["P"] * (n / TEXTS) ** v["kappa"] * v["delta"] * (found.value / TEXTS)
    harm *= (found.value / TEXTS - 1) ** (v["delta"] - 1)
    assert gain == pytest.approx(harm, rel=1e-3)
    assert (found.low < found.value).all()
    [at_once] = cliff(law_of("overfitting", v | {"P": 100.0}), np.array([n]), TEXTS[:1]).value
    assert at_once == pytest.approx(TEXTS[0]), "the second epoch hurts"


def test_no_other_model_of_a_text_is_better_than_the_best_of_it():
    judged = law_of("overfitting", OVERFITTING)
    found = data_frontier(judged, MEASURED, TEXTS)
    for n, tokens in [(1.1, 1.0), (0.9, 1.0), (1.0, 1.1), (1.0, 0.9), (1.1, 1.1), (0.9, 1.1)]:
        other = Points.of(
            found.n.value * n, found.tokens.value * tokens, found.loss.value, unique=TEXTS
        )
        assert (judged.fit.loss(other) > found.loss.value).all()
    assert (np.diff(found.n.value) > 0).all()
    assert (found.tokens.low < found.tokens.value).all()


@pytest.mark.parametrize(("name", "values"), [("chinchilla", CHINCHILLA), ("kaplan", None)])
def test_a_law_that_knows_no_harm_of_repeats_has_no_best(name, values):
    values = values or {"N_c": 1e13, "D_c": 1e13, "alpha_N": 0.08, "alpha_D": 0.1}
    found = data_frontier(law_of(name, values), MEASURED, TEXTS)
    assert np.isinf(found.n.value).all()
    assert np.isinf(found.tokens.low).all()
    assert not found.is_measured.any()


def test_tokens_whose_worth_wears_off_are_no_cliff():
    found = cliff(law_of("data_constrained", REPEATS), np.full(4, 1e9), TEXTS)
    assert np.isinf(found.value).all(), "the loss falls to a level, and stays there"
