"""Chinchilla's law with one exponent, and what it foretells of large models trained for long."""

import numpy as np
import pytest
from law_tables import shipped

from gptexp.laws.fit import fit_law, one_thread
from gptexp.laws.forms import LAWS
from gptexp.laws.points import Points

LAW = LAWS["overtrained"]
TABLE = shipped("gadre_redpajama.csv")
POINTS = Points.of(TABLE["n"], TABLE["tokens"], TABLE["loss"])
SMALL = TABLE["n"] < 1e9
OF_THEIRS = (TABLE["multiplier"] == 1) | ((TABLE["multiplier"] == 16) & (TABLE["n"] < 2e7))


@pytest.mark.parametrize("rows", [SMALL & OF_THEIRS, SMALL], ids=["their five models", "all small"])
def test_small_models_foretell_the_large_ones_as_well_as_gadre_et_al_do(rows):
    with one_thread():
        fit = fit_law(LAW, POINTS.take(rows))
    for size, multiplier, theirs in ((1439795200, 32, 0.7103), (6889410560, 1, 0.7320)):
        [row] = np.flatnonzero((TABLE["n"] == size) & (TABLE["multiplier"] == multiplier))
        predicted = fit.loss(POINTS.take(np.array([row])))[0]
        assert 100 * abs(predicted / TABLE["loss"][row] - 1) < theirs


def test_it_is_the_form_of_gadre_et_al():
    values = {"E": 1.8, "A": 140.0, "B": 240.0, "eta": 0.26}
    compute, per_parameter = 6 * POINTS.n * POINTS.tokens, POINTS.tokens / POINTS.n
    half = values["eta"] / 2
    a, b = (6**half * values[name] for name in "AB")
    power = a * per_parameter**half + b * per_parameter**-half
    assert LAW.loss(values, POINTS) == pytest.approx(1.8 + power * compute**-half)
