"""A fit in words: what does not hold and what is not known stand before the parameters."""

from dataclasses import replace

import numpy as np
import pytest
from law_runs import CHINCHILLA

from gptexp.laws.fit import Fit
from gptexp.laws.forms import LAWS
from gptexp.laws.held_out import HeldOut
from gptexp.laws.judge import Interval, JudgedLaw
from gptexp.laws.observed import Observations, Rejected, Rejections
from gptexp.laws.points import Points
from gptexp.laws.power_law import LawOfOptima
from gptexp.laws.screen import optima, told
from gptexp.laws.verdict import why_not

LAW = LAWS["chinchilla"]


def observed(notes=(), rejected=(), off=0.001):
    """Points of a law, of which every other lies off by so much."""
    points = Points.of([1e6, 2e6, 4e6, 8e6], [1e7, 2e7, 2e7, 4e7], np.ones(4))
    loss = LAW.loss(CHINCHILLA, points) * np.exp(off * np.array([1, -1, 1, -1]))
    labels = ["a", "b", "c", "d"]
    return Observations(
        replace(points, loss=loss), labels, Rejections(rejected), list(notes), "N: n; T: d"
    )


def judged(error=0.004, r2=0.99, unidentified=None, sides=("models", "data")):
    """A law that missed by `error` what was left out."""
    at = LAW.coordinates(CHINCHILLA)
    one = HeldOut(np.array([0, 0, 0, 1], bool), np.array([2 * (1 + error)]), np.array([2.0]))
    intervals = {name: Interval(0.9 * value, 1.1 * value) for name, value in CHINCHILLA.items()}
    held_out = dict.fromkeys(sides, one)
    return JudgedLaw(Fit(LAW, at, 0.1), r2, at[None], intervals, unidentified or {}, held_out)


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_what_is_not_known_stands_before_the_parameters():
    rejected = [
        Rejected("s1", "failed: no memory"),
        Rejected("s2", "twice: a"),
        Rejected("s3", "twice: b"),
    ]
    law = judged(0.2, unidentified={"alpha": "at the edge of what was tried, 3"})
    text = told(observed(["uncertified: not tuned"], rejected), [law], "outputs/scaling")
    order = [
        "outputs/scaling: 4 points and 3 left out",
        "uncertified: not tuned",
        "left out, failed: no memory (s1)",
        "left out, twice (2): s2, s3",
        "chinchilla does not hold: it misses the largest models",
        "chinchilla does not identify alpha (at the edge of what was tried, 3)",
        "median errors: ",
        "90% interval",
    ]
    places = [text.find(words) for words in order]
    assert -1 not in places
    assert places == sorted(places)
    assert "\nalpha   0.35  0.315 to 0.385  not identified" in text


def test_no_line_is_wider_than_the_terminal():
    notes = ["uncertified: " + "some long words about it " * 20]
    rejected = [Rejected(f"n_embd={i} fraction=0.1 s{i}", "other code") for i in range(20)]
    text = told(observed(notes, rejected), [judged(0.2)], "outputs/a_long_name_of_a_sweep")
    assert max(map(len, text.splitlines())) <= 80


def test_a_law_that_holds_is_said_to():
    text = told(observed(), [judged()], "x")
    assert "does not hold" not in text
    assert "holds" in text


@pytest.mark.parametrize(
    ("law", "why"),
    [
        (judged(0.004), ""),
        (judged(0.009), ""),  # nine times what it missed of the rest, and little all the same
        (judged(0.02), "it misses the largest models, fitted without them, by 2.00%"),
        (judged(r2=0.3), "it explains 30% of the variance"),
        (judged(r2=-2.0), "it explains 0% of the variance"),
        (judged(r2=float("nan")), "it explains 0% of the variance"),
        (judged(sides=()), "untested"),
    ],
)
def test_a_law_holds_that_foretells_what_was_left_out(law, why):
    found = why_not(law, observed().points)
    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_a_law_that_misses_what_it_was_fitted_to_may_miss_three_times_that_of_the_rest():
    points = observed(off=0.01).points
    assert not why_not(judged(0.025), points)
    assert why_not(judged(0.035), points)
    assert why_not(judged(0.07), observed(off=0.04).points)  # too much, whatever it was fitted to


@pytest.mark.parametrize(
    ("law", "said"),
    [
        (judged(0.009), "its held-out error is 0.90%, and the limit 1.00%"),
        (judged(0.012), "its held-out error is 1.20%, and the limit 1.00%"),
        (judged(r2=0.46), "it explains 46.0% of the variance, and the limit is 50%"),
        (judged(0.004), None),
        (judged(0.02), None),
        (judged(0.009, r2=0.3), None),
        (judged(sides=()), None),
    ],
)
def test_a_verdict_near_its_limit_is_said_to_be(law, said):
    text = " ".join(told(observed(), [law], "x").split())
    words = f"chinchilla: a narrow verdict, which one seed may turn: {said}"
    assert (words in text) if said else ("narrow verdict" not in text)


def test_of_laws_but_the_first_it_is_said_what_they_do_not_identify_and_not_why():
    vague = judged(unidentified={"alpha": "no loss tells it"})
    lines = told(observed(), [vague, vague], "x").splitlines()
    assert "chinchilla does not identify alpha (no loss tells it)" in lines
    assert "chinchilla does not identify alpha" in lines


def test_optima_stand_by_size_with_a_blank_for_what_is_not_known():
    found = [
        {"n": 2e6, "tokens": 1e8, "lr": 0.1},
        {"n": 1e6, "tokens": 3e8, "batch": 64.0},
        {"n": 1e6, "tokens": 3e8, "lr": 0.2},
    ]
    cells = optima(LawOfOptima("step_law", "", "", "", (), {}, {}, found, Rejections()))
    assert cells.heads == ["n", "tokens", "lr", "batch"]
    assert cells.rows == [
        *(["1e+06", "3e+08", "0.2", ""], ["1e+06", "3e+08", "", "64"]),
        ["2e+06", "1e+08", "0.1", ""],
    ]
