"""The numbers behind the figures of a law."""

from dataclasses import replace

import numpy as np
import pytest
from judged_laws import once, repeated

from gptexp.laws.forms import LAWS
from gptexp.laws.judge import judge_laws
from gptexp.laws.points import Points
from gptexp.report import law_views


def test_a_grid_has_a_curve_of_each_text_and_length_with_the_losses_as_measured():
    points, [best, _] = repeated()
    curves = law_views.curves(best, points)
    assert [curve.label for curve in curves][:3] == [
        *("20k unique, 10 epochs", "20k unique, 30 epochs", "20k unique, 100 epochs")
    ]
    assert len(curves) == 9
    assert not any(curve.moved for curve in curves)
    measured = np.concatenate([curve.measured for curve in curves])
    assert sorted(measured) == pytest.approx(sorted(points.loss))


def test_the_law_lies_in_its_band_at_most_places():
    points, [best, _] = repeated()
    for curve in law_views.curves(best, points):
        assert np.mean((curve.low <= curve.loss) & (curve.loss <= curve.high)) > 0.8
        assert np.all(curve.high < 1.2 * curve.low)


def test_a_loss_at_other_tokens_stands_where_the_law_moves_it_to():
    points, [law] = once()
    shaken = np.linspace(1, 1.2, len(points))
    points = Points.of(points.n, points.tokens * shaken, points.loss)
    curve = law_views.curves(law, points)[0]
    assert curve.moved
    [tokens] = curve.values
    here = Points.of(curve.sizes, np.full(len(curve.sizes), tokens), curve.measured)
    rows = [np.flatnonzero(points.n == n)[0] for n in here.n]
    own = points.take(np.array(rows))  # the shortest of each size
    assert curve.measured / law.fit.loss(here) == pytest.approx(own.loss / law.fit.loss(own))


def test_of_many_lengths_those_of_most_sizes_are_drawn():
    random = np.random.default_rng(0)
    n, tokens = np.exp(random.uniform(10, 14, 200)), np.exp(random.uniform(10, 18, 200))
    _, [law] = once()
    curves = law_views.curves(law, Points.of(n, tokens, np.ones(200)))
    assert len(curves) <= law_views.MOST_CURVES
    assert sum(len(curve.sizes) for curve in curves) > 150


def test_a_cliff_is_what_the_law_says_above_the_loss_of_new_tokens():
    points, [best, _] = repeated()
    shown = law_views.loss_map(best, points)
    assert (shown.over, shown.cliff_at) == ("unique", 2e6)
    corner = Points.of([shown.n[-1]], [2e6], [1.0], [shown.down[0]])
    new = Points.of([shown.n[-1]], [2e6], [1.0])
    assert shown.value[0, -1] == pytest.approx(best.fit.loss(corner)[0] - best.fit.loss(new)[0])
    place = (shown.sizes == 810e3) & (shown.at == 2e4)
    assert shown.measured[place] == pytest.approx(shown.value[0, -1], rel=0.3)
    assert not shown.moved


def test_what_a_law_does_not_know_tells_no_curves_apart():
    points, [best, other] = repeated()
    assert law_views.matters(best, points) == ["unique", "tokens"]
    assert law_views.matters(other, points) == ["tokens"]
    [of_texts] = judge_laws([LAWS["kaplan"]], points, draws=20)
    assert [curve.label for curve in law_views.curves(of_texts, points)][:2] == [
        *("20k unique tokens", "100k unique tokens")
    ]
    shown = law_views.loss_map(of_texts, points)
    assert (shown.over, shown.cliff_at) == ("unique", None)
    assert not law_views.has_cliff(*once()[1], once()[0])


def test_one_length_of_new_tokens_has_no_map():
    points, [law] = once()
    assert law_views.loss_map(law, points.take(points.tokens == 2e5)) is None


def test_errors_are_percent_of_the_measured_losses():
    _, [best, other] = repeated()
    errors = law_views.errors([best, other])
    away = best.held_out["models"]
    assert errors[0].percent == pytest.approx(100 * (away.predicted / away.measured - 1))
    assert errors[0].label == f"overfitting, largest models: {100 * away.error:.2f}%"
    assert law_views.errors([replace(best, held_out={})]) == []
