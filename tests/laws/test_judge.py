"""Laws are judged by what they were not fitted to; what cannot be fitted is said in a line."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_points import grid

from gptexp.laws.forms import LAWS
from gptexp.laws.held_out import hold_out
from gptexp.laws.judge import judge_laws, lacking
from gptexp.laws.points import Points

ALL = list(LAWS.values())
EPOCHS = (1.0, 4.0, 16.0)


def test_laws_come_by_held_out_error_the_best_first():
    laws = [LAWS[name] for name in ("kaplan", "chinchilla", "overfitting")]
    judged = judge_laws(laws, grid("overfitting", noise=0.002, epochs=EPOCHS), draws=3)
    errors = [one.error for one in judged]
    assert judged[0].fit.law.name == "overfitting"
    assert errors == sorted(errors)
    assert all(set(one.held_out) == {"models", "data"} for one in judged)


def test_the_largest_models_and_texts_are_left_out_and_foretold():
    points = grid("chinchilla", noise=0.001, sizes=10)
    found = hold_out(LAWS["chinchilla"], points, points.n)
    assert found.rows.tolist() == (points.n > 3e8).tolist()  # two of ten sizes
    assert found.measured.tolist() == points.loss[found.rows].tolist()
    assert found.error < 0.002


WIDER = " (add runs of other model.n_embd)"
LONGER = " (add runs of other trainer.max_steps)"


def test_where_too_few_sizes_are_left_nothing_is_held_out_and_the_reason_is_told():
    [found] = judge_laws([LAWS["chinchilla"]], grid("chinchilla", sizes=3), draws=2)
    assert set(found.held_out) == {"data"}
    assert found.not_held_out == {
        "models": f"without the largest, the law needs 3 sizes of model, and there are 2{WIDER}"
    }


def test_a_law_without_a_held_out_error_comes_last():
    judged = judge_laws(
        [LAWS["chinchilla"], LAWS["kaplan"]], grid("chinchilla", sizes=3, texts=3), 2
    )
    assert [one.fit.law.name for one in judged] == ["kaplan", "chinchilla"]
    assert judged[1].error is None


@pytest.mark.parametrize(
    ("points", "reasons"),
    [
        (
            grid("chinchilla"),
            {
                "data_constrained": f"needs 1 number of epochs above 1, and there are none{LONGER}",
                "overfitting": f"needs 2 numbers of epochs above 1, and there are none{LONGER}",
                "bounded": f"needs 1 number of epochs above 1, and there are none{LONGER}",
            },
        ),
        (
            grid("chinchilla", sizes=1, epochs=EPOCHS),
            dict.fromkeys(LAWS, f"needs 3 sizes of model, and there is 1{WIDER}")
            | {"kaplan": f"needs 2 sizes of model, and there is 1{WIDER}"},
        ),
        (
            grid("kaplan", sizes=2, texts=2, seeds=9),
            dict.fromkeys(LAWS, f"needs 3 sizes of model, and there are 2{WIDER}")
            | {
                "kaplan": "needs 5 points that differ in more than the seed, for its 4 parameters, "
                "and there are 4"
            },
        ),
        (
            replace(grid("chinchilla"), loss=np.full(25, 3.0)),
            dict.fromkeys(LAWS, "needs losses that differ, and all are equal"),
        ),
    ],
    ids=["one epoch", "one size", "four cells", "equal losses"],
)
def test_a_law_that_cannot_be_fitted_says_what_it_needs_and_others_go_on(points, reasons):
    assert lacking(ALL, points) == reasons
    judged = judge_laws(ALL, points, draws=2)
    assert {one.fit.law.name for one in judged} == LAWS.keys() - reasons.keys()


def test_no_points_at_all_are_too_few_for_any_law():
    points = Points.of([], [], [])
    assert lacking(ALL, points).keys() == LAWS.keys()
    assert judge_laws(ALL, points) == []


SIZES = st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=4)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(data=st.data(), rows=st.integers(1, 20), sizes=st.tuples(SIZES, SIZES, SIZES, SIZES))
def test_whatever_the_points_a_law_is_judged_by_finite_numbers_or_says_what_it_needs(
    data, rows, sizes
):
    n, tokens, unique, loss = (
        data.draw(st.lists(st.sampled_from(some), min_size=rows, max_size=rows)) for some in sizes
    )
    points = Points.of(n, tokens, loss, unique)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged = judge_laws(ALL, points, draws=2)
    assert len(judged) + len(lacking(ALL, points)) == len(ALL)
    for one in judged:
        ends = [x for interval in one.intervals.values() for x in (interval.low, interval.high)]
        numbers = [one.fit.objective, one.r2, *one.fit.values.values(), *ends]
        assert np.isfinite(numbers).all(), one.fit.law.name
        assert one.error is None or np.isfinite(one.error)
