"""The cliff of curves whose answer is known."""

import itertools
import json
import random
import tracemalloc

import numpy as np
import pytest

from gptexp.analysis import cliff
from gptexp.analysis.cliff import CurvePoint
from gptexp.experiment.run import run_experiment
from gptexp.runs.journal import evaluations


def curve(*losses, stderr=0.01):
    """Evaluations every 100 steps, which are an epoch each; training improves by 0.1 every time."""
    return [
        CurvePoint(100 * i, 1000.0 * i, float(i), loss, 3.0 - 0.1 * i, stderr)
        for i, loss in enumerate(losses)
    ]


def test_a_curve_that_turns_has_its_onset_height_slope_and_gap():
    found = cliff.measure(curve(3.0, 2.0, 1.5, 1.505, 1.6, 1.8, 2.0, 2.2))
    assert found.verdict == "cliff"
    assert (found.best.step, found.onset.step) == (200, 400)
    assert found.height == pytest.approx(0.7)
    assert found.slope == pytest.approx(0.2)
    assert found.gap == pytest.approx(1.5 - 2.8)


def test_a_rise_within_the_noise_is_none():
    found = cliff.measure(curve(2.0, 1.5, 1.505, 1.508, 1.509, 1.5))
    assert (found.verdict, found.onset, found.slope) == ("none", None, None)
    assert found.height == 0.0


def test_a_rise_that_does_not_stay_is_none():
    assert cliff.measure(curve(2.0, 1.5, 1.6, 1.6, 1.505, 1.6, 1.6, 1.505)).verdict == "none"


@pytest.mark.parametrize("after", [[], [1.6], [1.6, 1.7]])
def test_a_run_that_ended_soon_after_its_best_is_too_early_to_tell(after):
    found = cliff.measure(curve(2.0, 1.5, *after))
    assert (found.verdict, found.onset) == ("too early", None)


def test_a_run_that_was_stopped_after_enough_evaluations_can_tell():
    assert cliff.measure(curve(2.0, 1.5, 1.6, 1.7, 1.8)).onset.step == 200


def test_of_equal_losses_the_first_is_the_best():
    assert cliff.measure(curve(2.0, 1.5, 1.5, 1.6)).best.step == 100


def test_a_curve_without_a_finite_loss_has_no_cliff():
    row = {"step": 0, "tokens": 0, "epoch": 0.0, "val/loss": None, "train/eval_loss": None}
    assert cliff.curve_points([row]) == []
    assert cliff.measure([]) is None


def by_definition(points):
    """Onset and slope as the module's docstring has them, from the whole curve at once."""
    best = min(points, key=lambda point: point.val_loss)
    after = points[points.index(best) + 1 :]
    above = [point.val_loss - best.val_loss > best.stderr for point in after]
    starts = [i for i in range(len(above)) if above[i : i + cliff.STAYS] == [True] * cliff.STAYS]
    if not starts:
        return best, None, None
    rest = after[starts[0] :]
    slope, _ = np.polyfit([p.epochs for p in rest], [p.val_loss for p in rest], 1)
    return best, rest[0], slope


@pytest.mark.parametrize("seed", range(20))
def test_a_curve_seen_point_by_point_has_the_cliff_of_the_whole(seed):
    draw = random.Random(seed)
    losses = [abs(i - 15) / 20 + draw.gauss(1, 0.2) for i in range(draw.randrange(4, 60))]
    points = curve(*losses, stderr=0.15)
    found = cliff.measure(iter(points))
    best, onset, slope = by_definition(points)
    assert (found.best, found.onset) == (best, onset)
    assert found.slope == (None if slope is None else pytest.approx(slope, rel=1e-9))
    assert found.height == losses[-1] - min(losses)


def rows(count):
    """Evaluations every 10 steps, the best of them in no round place."""
    best = count * 2 // 3 + 1
    return (
        {
            "step": 10 * n,
            "tokens": 80 * n,
            "epoch": n / 7,
            "val/loss": 2 + abs(n - best) / count,
            "val/stderr": 0.01,
            "train/eval_loss": 2.0,
        }
        for n in range(count)
    )


@pytest.mark.parametrize("count", [1, 2, 10, 11, 12, 100, 1999])
def test_I6_a_long_curve_is_thinned_while_it_is_read(monkeypatch, count):
    monkeypatch.setattr(cliff, "MOST_POINTS", 10)
    whole = list(cliff.each_point(rows(count)))
    kept = cliff.curve_points(rows(count))
    assert len(kept) <= 12
    assert {whole[0], whole[-1], cliff.best_of(whole)} <= set(kept) <= set(whole)
    assert [point.step for point in kept] == sorted(point.step for point in kept)
    assert cliff.measure(whole).best == cliff.best_of(kept)
    gaps = {b.step - a.step for a, b in itertools.pairwise(kept)}
    assert count <= 10 or max(gaps) <= 10 * 2 * count / 10


@pytest.mark.slow
def test_I6_the_memory_of_a_curve_does_not_grow_with_it(monkeypatch, tmp_path):
    monkeypatch.setattr(cliff, "MOST_POINTS", 100)
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file:
        for row in rows(4000):
            file.write(json.dumps({**row, "seconds": 1.0, "val/bpb": 1.0}) + "\n")
    tracemalloc.start()
    points, damage = cliff.read_curve(tmp_path)
    fall = cliff.measure(cliff.each_point(evaluations(tmp_path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(points), damage, fall.verdict) == (65, [], "cliff")
    assert peak < 300_000 < path.stat().st_size


@pytest.mark.slow
def test_a_run_that_memorises_its_text_shows_its_cliff(small, tmp_path, quick):
    """A hundred characters learned by heart while the validation text stays unknown."""
    text = tmp_path / "little.txt"
    text.write_text(
        "the quick brown fox jumps over a lazy dog; " * 3 + "pack my box with five " * 3
    )
    config = small(
        f"data.path={text}",
        "data.val_fraction=0.3",
        "model.n_embd=32",
        "model.dropout=0",
        "optim.lr=0.02",
        "trainer.max_steps=60",
        "trainer.eval_interval=10",
        "trainer.on_overfit=observe",
    )
    outcome = run_experiment(config, tmp_path / "outputs")
    summary = json.loads((outcome.path / "summary.json").read_text())
    assert summary["cliff"]["verdict"] == "cliff"
    assert summary["cliff"]["onset"]["step"] > summary["best"]["step"]
    expected = summary["final"]["val_loss"] - summary["best"]["val_loss"]
    assert summary["cliff"]["height"] == pytest.approx(expected)
    assert summary["cliff"]["height"] > 0.5
    assert summary["cliff"]["slope"] > 0
