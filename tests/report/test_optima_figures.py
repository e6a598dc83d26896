"""The figures of laws of what is best: what they say, and that each can be drawn."""

import numpy as np
import pytest
from judged_laws import budgets

from gptexp.analysis.units import NATS
from gptexp.laws.observed import Trials
from gptexp.laws.points import Points
from gptexp.laws.step_law import step_law
from gptexp.report import optima_figures, style


def rates(sizes=(1e6, 2e6, 4e6), lengths=(1e8, 2e8, 4e8)):
    """The law of learning rates that are best at lr = 30 N^-0.8 T^0.2, but for some noise."""
    random = np.random.default_rng(0)
    rows = []
    for n in sizes:
        for tokens in lengths:
            best = 30 * n**-0.8 * tokens**0.2 * np.exp(random.normal(0, 0.05))
            rows += [(n, tokens, 3 + np.log(x) ** 2, best * x) for x in (0.3, 0.9, 3)]
    n, tokens, loss, lr = np.array(rows).T
    return step_law(Trials(Points.of(n, tokens, loss), lr, None))


def axes_of(figure, size=style.NARROW):
    picture = figure.draw(size, True)
    picture.draw_without_rendering()
    return picture.axes[0]


@pytest.mark.parametrize(
    ("law", "labels"),
    [
        (budgets, ("FLOPs", "best parameters")),
        (rates, ("parameters", "best learning rate")),
        (lambda: rates(sizes=(1e6,)), ("tokens seen", "best learning rate")),
    ],
)
def test_what_is_best_is_drawn_over_what_it_goes_with(law, labels):
    axes = axes_of(optima_figures.drawn(law(), NATS)[-1])
    assert (axes.get_xlabel(), axes.get_ylabel()) == tuple(f"{x}, log scale" for x in labels)
    points = sum(len(one.get_offsets()) for one in axes.collections if one.get_offsets().any())
    assert points == len(law().optima)


def test_each_length_has_a_line_and_a_label_as_far_as_colours_tell_them_apart():
    [figure] = optima_figures.drawn(rates(), NATS)
    assert [label for *_, label in figure.legend] == [
        f"{t} tokens seen" for t in ("100M", "200M", "400M")
    ]
    [many] = optima_figures.drawn(rates(lengths=tuple(1e8 * 2.0**i for i in range(11))), NATS)
    assert len(many.legend) == optima_figures.MOST_LINES
    assert many.legend[-1][-1] == "102G tokens seen"
    assert many.caption.endswith("Drawn are 8 of 11 such lines.")


def test_a_law_that_does_not_hold_says_so_first_and_a_wide_band_leaves_the_points_apart():
    figure = optima_figures.drawn(budgets(noise=2.0), NATS)[-1]
    assert figure.caption.startswith("This law does not hold: untested")
    low, high = axes_of(figure).get_ylim()
    assert high / low < 1e4  # optima reach over 28, the band over 1e9


def test_the_losses_of_each_budget_are_drawn_with_the_parabola_that_its_optimum_is_the_foot_of():
    law = budgets()
    figure, _ = optima_figures.drawn(law, NATS)
    axes = axes_of(figure)
    assert [label for *_, label in figure.legend] == ["1e12 FLOPs", "1e13 FLOPs", "1e14 FLOPs"]
    assert axes.get_ylabel() == f"loss, {NATS}"
    parabolas, stars = axes.lines[::2], axes.lines[1::2]
    for optimum, points, parabola, star in zip(
        law.optima, axes.collections, parabolas, stars, strict=True
    ):
        assert [star.get_xdata()[0], star.get_ydata()[0]] == [optimum["n"], optimum["loss"]]
        x, loss = parabola.get_data()
        at, measured = points.get_offsets().T
        assert np.interp(np.log(at), np.log(x), loss) == pytest.approx(measured, abs=1e-3)
        assert loss.min() == pytest.approx(optimum["loss"], abs=1e-3)
