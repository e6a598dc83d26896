"""The best size for a budget."""

import numpy as np
import pytest
from law_tables import published

from gptexp.laws.forms import LAWS
from gptexp.laws.isoflop import isoflop
from gptexp.laws.points import Points
from gptexp.laws.power_law import NoLaw

LAW = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}


def budgets(*costs, sizes=7, noise=0.0, around=1.0):
    """Models about the best size of each cost, by Chinchilla's law and 6 N T."""
    random = np.random.default_rng(0)
    exponent = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    best = [around * 0.6 * (cost / 6) ** exponent for cost in costs]
    n = np.concatenate([one * np.geomspace(0.3, 3, sizes) for one in best])
    tokens = np.repeat(costs, sizes) / (6 * n)
    loss = LAWS["chinchilla"].loss(LAW, Points.of(n, tokens, np.ones(len(n))))
    return Points.of(n, tokens, loss * np.exp(random.normal(0, noise, len(n))))


def test_the_exponents_of_a_known_law_are_recovered():
    found = isoflop(budgets(1e17, 3e17, 1e18, 3e18, 1e19, sizes=9, noise=1e-3))
    a = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    assert found.values["a"] == pytest.approx(a, abs=0.02)
    assert found.values["a"] + found.values["b"] == pytest.approx(1)
    assert found.values["k"] * found.values["l"] == pytest.approx(1 / 6)  # of 6 N T
    assert found.intervals["a"].low < a < found.intervals["a"].high
    assert found.held_out["budgets"].error < 0.2


def test_budgets_that_are_nearly_one_are_one_and_their_seeds_a_mean():
    points = budgets(1e17, 1e18, 1e19)
    random = np.random.default_rng(1)
    cost = 6 * points.n * points.tokens * random.uniform(0.97, 1.03, len(points))
    assert len(isoflop(points, cost).optima) == 3
    twice = Points.of(*(np.tile(x, 2) for x in (points.n, points.tokens, points.loss)))
    assert isoflop(twice).values == pytest.approx(isoflop(points).values)


def test_exact_flops_stand_in_place_of_six_n_t():
    points = budgets(1e17, 1e18, 1e19)
    found = isoflop(points, 9 * points.n * points.tokens)
    assert found.values["a"] == pytest.approx(isoflop(points).values["a"])
    assert found.optima[0]["flops"] == pytest.approx(1.5e17)
    assert 9 * found.optima[0]["n"] * found.optima[0]["tokens"] == pytest.approx(1.5e17)


def test_a_budget_without_a_lowest_size_is_rejected_with_the_reason():
    alone = Points.of([1e6], [1e6], [3])
    parts = budgets(1e17, 1e18, 1e19), budgets(1e16, around=8.0), alone
    columns = [(one.n, one.tokens, one.loss) for one in parts]
    found = isoflop(Points.of(*map(np.concatenate, zip(*columns, strict=True))))
    assert len(found.optima) == 3
    assert {one.label: one.reason for one in found.rejected.first} == {
        "1e+16 FLOPs": "no lowest place between others: the smaller end of 7 is the best",
        "1 point": "no budget: fewer than 3 sizes cost as much",
    }


def test_costs_without_a_gap_between_them_are_no_budget():
    n = np.geomspace(1e6, 1e8, 60)
    found = isoflop(Points.of(n, np.full(60, 1e9), 2 + 1 / np.log(n)), np.geomspace(1e15, 1e16, 60))
    assert isinstance(found, NoLaw)
    assert found.rejected.first[0].reason.startswith("no budget: its runs cost 1e+15 to 1e+16")


def test_no_points_are_no_law_in_words():
    found = isoflop(Points.of([], [], []))
    assert isinstance(found, NoLaw)
    assert (found.reason, len(found.rejected)) == ("no optimum is known", 0)


@pytest.mark.parametrize(
    ("experiment", "with_outliers", "without"),
    [
        ("epochai_chinchilla__massivetext__chinchilla", 0.523, 0.541),
        ("ml_scalefit__massivetext__chinchilla", 0.539, 0.542),
        ("llama_3__raw_loss", 0.463, 0.500),
        ("marin_202603__nemotron__llama_2", 0.422, 0.444),
        ("misfitting__fineweb_c4__transformer", 0.497, 0.523),
    ],
)
def test_published_curves_give_exponents_about_a_half(experiment, with_outliers, without):
    table = published("openathena_isoflops.csv", experiment=experiment)
    points = Points.of(table["params"], table["tokens"], table["loss"])
    inside = table["outlier"] == "False"
    assert isoflop(points, table["budget"]).values["a"] == pytest.approx(with_outliers, abs=1e-3)
    kept = isoflop(points.take(inside), table["budget"][inside])
    assert kept.values["a"] == pytest.approx(without, abs=1e-3)


def test_chinchillas_points_agree_with_its_law():
    table = published("chinchilla_240.csv")
    found = isoflop(Points.of(table["n"], table["d"], table["loss"]))
    assert found.intervals["a"].low < 0.513 < found.intervals["a"].high  # beta / (alpha + beta)
