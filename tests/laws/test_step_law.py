"""The best learning rate over model size and data."""

from dataclasses import replace

import numpy as np
import pytest
from law_tables import published

from gptexp.laws.observed import Trials
from gptexp.laws.points import Points
from gptexp.laws.power_law import NoLaw
from gptexp.laws.step_law import step_law


def sweep(noise=0.0, rates=12, batches=(1.0,), of=((1e7, 1e9), (1e7, 4e9), (4e7, 1e9), (4e7, 4e9))):
    """Losses about lr = e^2 N^-0.7 T^0.3 and batch = 30 T^0.4, over a grid of both."""
    random = np.random.default_rng(0)
    rows = []
    for n, tokens in of:
        best, widest = np.exp(2) * n**-0.7 * tokens**0.3, 30 * tokens**0.4
        for rate in best * 1.1 * np.geomspace(0.1, 10, rates):
            for batch in widest * 0.9 * np.asarray(batches):
                bends = 0.02 * np.log(rate / best) ** 2 + 0.02 * np.log(batch / widest) ** 2
                rows.append((n, tokens, 3 + bends + random.normal(0, noise), rate, batch))
    n, tokens, loss, rate, batch = np.array(rows).T
    return Trials(Points.of(n, tokens, loss), rate, batch if len(batches) > 1 else None)


def test_a_known_law_of_the_learning_rate_is_recovered():
    cells = [(n, tokens) for n in (1e7, 2e7, 4e7) for tokens in (1e9, 4e9)]
    found = step_law(sweep(noise=1e-3, of=cells))
    for name, value in {"c": 2, "a": -0.7, "b": 0.3}.items():
        assert found.values[name] == pytest.approx(value, abs=0.2)
        assert found.intervals[name].low < value < found.intervals[name].high
    assert found.held_out["models"].error < 0.3


def test_the_best_batch_goes_with_the_tokens():
    found = step_law(sweep(batches=(0.25, 0.5, 1.0, 2.0, 4.0)))
    assert found.values["a"] == pytest.approx(-0.7)
    assert found.values["e"] == pytest.approx(0.4)
    assert np.exp(found.values["d"]) == pytest.approx(30)


def test_where_the_best_is_the_last_that_was_tried_there_is_no_optimum():
    tried = sweep(of=[(1e7, 1e9), (1e7, 4e9), (4e7, 1e9), (4e7, 4e9), (2e7, 2e9)])
    here = tried.points.n == 2e7
    low = ~here | (tried.lr < np.median(tried.lr[here]))
    found = step_law(Trials(tried.points.take(low), tried.lr[low]))
    assert [(one.label, one.reason) for one in found.rejected.first] == [
        (
            "N=2e+07 T=2e+09, best lr",
            "no lowest place between others: the larger end of 6 is the best",
        )
    ]
    assert len(found.optima) == 4


def test_the_loss_of_a_learning_rate_is_that_of_the_best_of_what_else_was_varied():
    one = sweep()
    worse = replace(one.points, loss=one.points.loss + 0.1 + np.log(one.lr) / 100)
    both = Points.of(
        *(
            np.concatenate([getattr(one.points, name), getattr(worse, name)])
            for name in ("n", "tokens", "loss")
        )
    )
    setting = np.repeat([0, 1], len(one.lr))
    found = step_law(Trials(both, np.tile(one.lr, 2), setting=setting))
    assert found.values == pytest.approx(step_law(one).values)


def test_of_one_amount_of_data_only_the_size_tells():
    found = step_law(sweep(of=[(1e7, 1e9), (2e7, 1e9), (4e7, 1e9)]))
    assert found.values["a"] == pytest.approx(-0.7)
    assert found.unidentified == {"b": "all of the models saw as many tokens"}


def test_without_learning_rates_to_choose_from_there_is_no_law():
    found = step_law(sweep(rates=2))
    assert isinstance(found, NoLaw)
    assert {one.reason for one in found.rejected.first} == {
        "too few: 2 values, and 3 are the least"
    }


def test_the_exponents_of_step_law_lie_inside_their_published_intervals():
    table = published("steplaw_dense_lr_bs_loss.csv")
    theirs = published("steplaw_bootstrap_params.csv")
    points = Points.of(table["N"], table["D"], table["smooth loss"])
    found = step_law(Trials(points, table["lr"], 2048 * table["bs"]))  # sequences of 2048 tokens
    for name, column in {"a": "lr_coefN", "b": "lr_coefD", "c": "lr_intercept"}.items():
        low, high = np.percentile(theirs[column], [2.5, 97.5])
        assert low < found.values[name] < high
    low, high = np.percentile(theirs["bs_coefD"], [2.5, 97.5])
    assert low < found.values["e"] < high
