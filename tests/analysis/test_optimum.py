"""Where a curve of a few means is lowest."""

import numpy as np
import pytest

from gptexp.analysis.optimum import Optimum, optimum


def test_the_optimum_of_a_parabola_is_its_vertex():
    found = optimum([(x, 2 + 3 * (x - 1.3) ** 2) for x in (-1.0, 0.5, 2.0, 3.0)])
    assert (found.place, found.loss, found.edge) == (pytest.approx(1.3), pytest.approx(2), "")


def test_it_is_that_of_the_lowest_point_and_its_neighbours():
    points = [(0.0, 5.0), (1.0, 2.0), (3.0, 1.5), (4.0, 2.5), (5.0, 1.6)]  # 5.0 is the next lowest
    a, b, c = np.polyfit([x for x, _ in points[1:4]], [y for _, y in points[1:4]], 2)
    found = optimum(points)
    assert found.place == pytest.approx(-b / (2 * a))
    assert found.loss == pytest.approx(c - b * b / (4 * a))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 2.0, 3.0], Optimum(0.0, 1.0, "smaller")),
        ([3.0, 2.0, 1.0], Optimum(2.0, 1.0, "larger")),
        ([2.0, 1.0, 1.0, 2.0], Optimum(1.5, 0.875, "")),
        ([1.0, 1.0], None),
        ([], None),
    ],
)
def test_at_an_edge_one_has_to_look_on(losses, expected):
    assert optimum([(float(x), loss) for x, loss in enumerate(losses)]) == expected
