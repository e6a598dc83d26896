"""Columns become points, of which each is a positive number."""

import numpy as np
import pytest

from gptexp.errors import DataError
from gptexp.laws.points import Points


def test_tokens_that_were_seen_once_are_unique():
    points = Points.of(n=[1, 1, 1], tokens=[50, 100, 300], loss=[3, 2, 2], unique=[100, 100, 100])
    assert points.unique.tolist() == [50, 100, 100]
    assert points.epochs.tolist() == [1, 1, 3]
    assert points.repeats.tolist() == [0, 0, 2]
    assert np.exp(points.log_repeats).tolist() == [0, 0, pytest.approx(2)]


def test_rows_that_differ_in_the_loss_alone_are_one_cell():
    points = Points.of(n=[1, 2, 1, 1], tokens=[9, 9, 9, 8], loss=[3, 4, 5, 6])
    assert points.cell[0] == points.cell[2]
    assert points.cells == 3
    assert points.take(points.n == 1).cells == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -2.0])
@pytest.mark.parametrize("column", ["n", "tokens", "loss", "unique"])
def test_a_value_that_is_no_positive_number_is_refused_with_its_row(column, bad):
    columns = {name: [1.0, 2.0, 3.0] for name in ("n", "tokens", "loss", "unique")}
    columns[column][1] = bad
    with pytest.raises(DataError, match=f"points: {column} of row 2 is {bad:g}, and has to be abo"):
        Points.of(**columns)
