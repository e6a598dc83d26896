"""The lowest place of a curve of losses over a scale."""

import numpy as np
import pytest

from gptexp.laws.valley import curve, nearly_one, valley


def test_values_that_were_rounded_are_one_and_those_of_a_grid_are_not():
    values = np.array([0.00276, 0.001, 0.002762, 0.002, 0.000998])
    assert nearly_one(values).tolist() == [2, 0, 2, 1, 0]
    assert nearly_one(np.array([])).tolist() == []


def test_a_curve_is_the_mean_over_seeds_and_the_lowest_over_what_else_was_varied():
    rate = np.array([1e-3, 1e-3, 1e-3, 1e-2])
    batch = np.array([0, 0, 1, 1])
    loss = np.array([1.0, 3.0, 2.5, 4.0])
    assert curve(rate, loss, batch) == [(np.log(1e-3), 2.0), (np.log(1e-2), 4.0)]
    assert [height for _, height in curve(rate, loss)] == [pytest.approx(6.5 / 3), 4.0]


def test_the_lowest_place_is_the_vertex_of_the_parabola_through_all_that_is_near():
    noise = (0.0, 0.02, -0.02, 0.02, 0.0, 0.5)
    points = [(x, 2 + (x - 1.3) ** 2 + noise[int(x)]) for x in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)]
    bend, slope, height = np.polyfit(*zip(*points[:4], strict=True), 2)
    found = valley(points, width=2.0)
    assert found.place == pytest.approx(-slope / (2 * bend))
    assert found.loss == pytest.approx(height - slope**2 / (4 * bend))
    bend, slope, height = np.polyfit(*zip(*points[:3], strict=True), 2)
    assert valley(points, width=0.1).place == pytest.approx(-slope / (2 * bend))


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([2.0, 1.0], "too few: 2 values, and 3 are the least"),
        ([1.0, 2.0, 3.0], "the smaller end of 3 is the best"),
        ([3.0, 2.0, 1.0], "the larger end of 3 is the best"),
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1.05], "beyond all"),
        ([1.0, 9.0, 9.0, 0.9, 9.0, 9.0, 1.0], "upside down"),
    ],
)
def test_a_curve_that_tells_no_lowest_place_says_why(losses, reason):
    assert reason in valley([(float(x), loss) for x, loss in enumerate(losses)])
