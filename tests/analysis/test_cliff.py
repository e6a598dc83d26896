"""The cliff of curves whose answer is known."""

import json

import pytest

from gptexp.analysis import cliff
from gptexp.analysis.cliff import CurvePoint
from gptexp.experiment.run import run_experiment


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
    summary = json.loads((outcome.directory / "summary.json").read_text())
    assert summary["cliff"]["verdict"] == "cliff"
    assert summary["cliff"]["onset"]["step"] > summary["best"]["step"]
    expected = summary["final"]["val_loss"] - summary["best"]["val_loss"]
    assert summary["cliff"]["height"] == pytest.approx(expected)
    assert summary["cliff"]["height"] > 0.5
    assert summary["cliff"]["slope"] > 0
