"""Where the values of a key stand on an axis."""

import math

import pytest

from gptexp.analysis.scale import scale_of


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-4, 3e-4, 1e-3, 3e-3], "log"),
        ([16, 32, 64], "log"),
        ([1, 2, 3, 4], "linear"),
        ([0.0, 0.1, 0.2, 0.4], "linear"),
        ([0, 0.01, 0.1, 1.0], "log"),
        ([-1.0, 0.0, 10.0], "linear"),
        ([5], "linear"),
        (["adamw", "sgd"], "words"),
        ([1, None], "words"),
        ([True, False], "words"),
        ([1.0, math.inf], "words"),
        ([], "linear"),
    ],
)
def test_the_ratios_decide_whether_an_axis_is_logarithmic(values, kind):
    assert scale_of(values).kind == kind


def test_values_stand_in_their_order_each_once():
    scale = scale_of([100, 1, 10, 1])
    assert scale.values == [1, 10, 100]
    assert scale.places == pytest.approx([0, math.log(10), math.log(100)])
    assert scale_of(["b", "a", "b"]).places == [0.0, 1.0]


def test_a_zero_on_a_logarithmic_axis_stands_one_step_below():
    scale = scale_of([0, 0.01, 0.1, 1.0])
    assert scale.place(0) == pytest.approx(math.log(0.001))
    assert scale.at(scale.place(0)) == 0
    assert scale.at((scale.place(0) + scale.place(0.01)) / 2) == pytest.approx(0.005)


@pytest.mark.parametrize("values", [[1e-3, 1e-2, 1e-1], [1, 2, 3], [0, 0.01, 0.1, 1.0]])
def test_a_place_leads_back_to_its_value(values):
    scale = scale_of(values)
    assert [scale.at(scale.place(value)) for value in values] == pytest.approx(values)
