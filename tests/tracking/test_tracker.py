"""metrics.jsonl and samples.jsonl as the truth about a run."""

import json
import math

import numpy as np
import pytest
from fake_dashboards import tracked
from small_runs import metrics, samples, summary

from gptexp.experiment.run import run_experiment
from gptexp.inference.probe import Probe
from gptexp.runs.journal import Sample, curves, read_journal

SAMPLE = Sample(step=4, prompt="\n", temperature=0.8, top_k=None, seed=1, text="to be\nor not")

PROBE = Probe(step=4, tokens=["a"], attention=[], vocabulary=["a"], following={1.0: np.ones(1)})


def test_without_a_logger_there_are_curves_and_samples_but_no_events(small, tmp_path):
    run = run_experiment(small("logger=none"), tmp_path / "outputs").path
    assert metrics(run) and samples(run)
    assert not list(run.glob("events.*")) and not (run / "wandb").exists()


def test_nan_and_infinity_are_null_with_a_flag_and_come_back(tmp_path):
    with tracked(tmp_path) as tracker:
        tracker.scalars(3, {"train/loss": math.nan, "val/loss": -math.inf, "train/lr": 0.1})
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {
        "step": 3,
        "train/loss": None,
        "val/loss": None,
        "train/lr": 0.1,
        "nonfinite": {"train/loss": "nan", "val/loss": "-inf"},
    }
    points = curves(line)
    assert math.isnan(points.pop("train/loss"))
    assert points == {"val/loss": -math.inf, "train/lr": 0.1}


def test_floats_come_back_exactly(tmp_path):
    value = 2.737465835085102e-7
    with tracked(tmp_path) as tracker:
        tracker.scalars(1, {"val/loss": value})
    assert read_journal(tmp_path / "metrics.jsonl")[0]["val/loss"] == value


def test_F5_after_a_resume_no_line_is_missing_or_doubled(tmp_path):
    with tracked(tmp_path) as tracker:
        for step in (2, 4, 6, 8):
            tracker.scalars(step, {"val/loss": float(step)})
        tracker.sample(SAMPLE, PROBE)
    with tracked(tmp_path, resume_step=4) as tracker:
        for step in (6, 8):
            tracker.scalars(step, {"val/loss": float(step) + 0.5})
    lines = [(line["step"], line["val/loss"]) for line in metrics(tmp_path)]
    assert lines == [(2, 2.0), (4, 4.0), (6, 6.5), (8, 8.5)]
    assert [line["step"] for line in samples(tmp_path)] == [4]


def test_starting_anew_drops_what_an_earlier_attempt_wrote(tmp_path):
    for value in (1.0, 2.0):
        with tracked(tmp_path) as tracker:
            tracker.scalars(1, {"val/loss": value})
    assert [line["val/loss"] for line in metrics(tmp_path)] == [2.0]


@pytest.mark.parametrize("interval", [0, 6])
def test_the_last_sample_is_that_of_the_best_weights(small, tmp_path, interval):
    config = small(f"trainer.sample_interval={interval}")
    run = run_experiment(config, tmp_path / "outputs").path
    best = summary(run)["best"]["step"]
    assert [line["step"] for line in samples(run)].count(best) == 1
