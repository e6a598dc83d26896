"""An interval holds what it promises: what seeds change, and how far a law misses its points."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from law_points import KNOWN, grid

from gptexp.laws.bootstrap import LEVEL, Scatter, draw_fits, scatter
from gptexp.laws.fit import fit_law, one_thread
from gptexp.laws.forms import LAWS
from gptexp.laws.judge import judge
from gptexp.laws.points import Points

CHINCHILLA = LAWS["chinchilla"]
CHINCHILLAS = partial(grid, "chinchilla")


def parts(points: Points) -> tuple[float, float]:
    """What the law misses cells by, and what seeds change: standard deviations of the scatter."""
    found = scatter(fit_law(CHINCHILLA, points), points)
    return tuple(float(np.sqrt(np.mean(x**2))) for x in (found.misfits, found.seeds))


@pytest.mark.parametrize(("misfit", "noise"), [(0.0, 0.005), (0.02, 0.005), (0.02, 0.0005)])
def test_the_scatter_tells_a_misfit_of_the_law_from_what_seeds_change(misfit, noise):
    found = parts(grid("chinchilla", noise=noise, misfit=misfit, seeds=4, sizes=7, texts=7))
    assert found == (
        pytest.approx(misfit, rel=0.25, abs=noise / 2),
        pytest.approx(noise, rel=0.1),
    )


def test_without_seeds_all_that_points_are_off_by_is_misfit():
    assert parts(grid("chinchilla", noise=0.01, sizes=7, texts=7)) == (
        pytest.approx(0.01, rel=0.25),
        0.0,
    )


def test_drawn_scatter_varies_as_the_points_do():
    points = grid("chinchilla", noise=0.005, seeds=3)
    drawn = scatter(fit_law(CHINCHILLA, points), points).draw(400, seed=0)
    assert drawn.shape == (400, len(points))
    assert drawn.std() == pytest.approx(0.005, rel=0.15)
    misfit = grid("chinchilla", noise=0.001, misfit=0.02, seeds=3)
    drawn = scatter(fit_law(CHINCHILLA, misfit), misfit).draw(400, seed=0)
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] > 0.9  # rows of one cell share its misfit


def test_a_cell_of_one_seed_is_drawn_with_what_seeds_change_elsewhere():
    points = grid("chinchilla", noise=0.005, seeds=3)
    some = points.take(np.arange(len(points)) > 1)  # of the first cell, one row is left
    drawn = scatter(fit_law(CHINCHILLA, some), some).draw(400, seed=0)
    assert drawn[:, 0].std() > 0.003


def test_a_run_that_is_there_three_times_makes_no_interval_narrower():
    once = grid("chinchilla", noise=0.01)
    thrice = once.take(np.repeat(np.arange(len(once)), 3))
    wide = [np.ptp(draw_fits(fit_law(CHINCHILLA, p), p), axis=0) for p in (once, thrice)]
    assert wide[1] == pytest.approx(wide[0], rel=0.35)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": 0.01}, "how far points lie from the law (0.92%), and nothing of seeds"),
        (
            {"noise": 0.0005, "misfit": 0.02, "seeds": 3},
            "what other seeds change (0.045%) and how far the law misses (2.4%)",
        ),
    ],
)
def test_an_interval_says_what_it_holds(options, said):
    assert judge(CHINCHILLA, grid("chinchilla", **options), draws=2, seed=0).scatter == said


def test_a_law_that_misses_no_cell_by_more_than_seeds_do_leaves_them_alone():
    one, two = np.array([0]), np.array([0, 0])
    seeds = np.array([0.005, -0.005])
    alone = Scatter(two, np.arange(2), one, misfits=np.zeros(1), drawn=one, seeds=seeds)
    assert str(alone) == "what other seeds change (0.5%; the law misses no cell by more)"


def along_runs(seed: int = 0, seeds: int = 3) -> Points:
    """So many runs of each size, whose lengths share 0.5% that a run is off by beside 0.1%."""
    points = grid("chinchilla", noise=0.001, seeds=seeds, seed=seed)
    size = np.unique(points.n, return_inverse=True)[1]
    run = size * seeds + np.arange(len(points)) % seeds
    shared = 0.005 * np.random.default_rng(seed).standard_normal(5 * seeds)
    return replace(points, loss=points.loss * np.exp(shared[run]), run=run)


def test_lengths_of_one_run_are_drawn_together():
    points = along_runs()
    drawn = scatter(fit_law(CHINCHILLA, points), points).draw(400, seed=0)
    one, other = points.run == 0, points.run == 1
    assert np.corrcoef(drawn[:, one].T).min() > 0.8
    assert abs(np.corrcoef(drawn[:, one].mean(1), drawn[:, other].mean(1))[0, 1]) < 0.3
    assert drawn.std() == pytest.approx(0.005, rel=0.25)


def test_misfits_of_a_family_of_lengths_come_from_one_other():
    once = grid("chinchilla", noise=0.01)
    points = replace(once, run=np.unique(once.n, return_inverse=True)[1])
    found = scatter(fit_law(CHINCHILLA, points), points)
    whole = {tuple(found.misfits[found.family == number]) for number in found.drawn}
    drawn = found.draw(20, seed=0)
    for number in range(5):
        rows = points.run == number
        assert {tuple(row) for row in drawn[:, rows]} <= whole


def covered(
    grids: int, draws: int, make: Callable[..., Points] = CHINCHILLAS, **options: float
) -> dict[str, float]:
    """The share of grids in whose interval a parameter lies, by its name."""
    true = CHINCHILLA.coordinates(KNOWN["chinchilla"])
    inside = np.zeros(len(true))
    tails = 50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)
    with one_thread():
        for seed in range(grids):
            points = make(seed=seed, **options)
            drawn = draw_fits(fit_law(CHINCHILLA, points), points, draws, seed)
            low, high = np.percentile(drawn, tails, axis=0, method="weibull")
            inside += (low <= true) & (true <= high)
    return dict(zip(KNOWN["chinchilla"], inside / grids, strict=True))


def test_most_intervals_hold_the_truth():
    assert all(0.6 < share <= 1 for share in covered(15, draws=40, noise=0.005, seeds=3).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"noise": 0.005, "seeds": 3},
        {"noise": 0.005},
        {"noise": 0.003, "misfit": 0.01, "seeds": 3},
    ],
    ids=["seeds", "one seed", "a law that does not hold"],
)
def test_ninety_of_a_hundred_intervals_hold_the_truth(options):
    found = covered(300, draws=60, **options)
    assert all(0.84 <= share <= 0.95 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least"), [(3, 0.8), (1, 0.55)])
def test_most_intervals_hold_the_truth_of_lengths_of_one_run(seeds, least):
    found = covered(200, draws=60, make=along_runs, seeds=seeds)
    assert all(least <= share <= 0.98 for share in found.values()), found
