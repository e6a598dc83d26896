"""A sweep's scaling curve in TensorBoard."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from run_directories import write_run
from small_runs import put
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gptexp.analysis.records import collect
from gptexp.experiment.run import run_experiment
from gptexp.report import scaling_curve
from gptexp.report.scaling_curve import draw
from gptexp.sweep import run as sweep_run


@pytest.fixture
def runs(tmp_path):
    """Two sizes on two datasets with two seeds each; best losses 2.0 to 2.7."""
    found = []
    for fraction in (0.25, 1.0):
        for width, params in ((32, 1000), (64, 4000)):
            for seed in (0, 1):
                best = 2.0 + 0.1 * len(found)
                keys = {"data__fraction": fraction, "model__n_embd": width}
                write_run(tmp_path / "grid", seed, best, **keys)
                found.append(params)
    collected, _ = collect([tmp_path / "grid"])
    by_width = {32: 1000, 64: 4000}
    return [replace(run, params=by_width[run.config["model.n_embd"]]) for run in collected]


def curve(path, tag="scaling/best_val_loss"):
    board = EventAccumulator(str(path))
    board.Reload()
    return {event.step: pytest.approx(event.value) for event in board.Scalars(tag)}


def test_each_dataset_size_is_a_run_over_the_parameters(tmp_path, runs):
    small, large = draw(tmp_path, runs)
    assert (small.name, large.name) == ("scaling-f0.25", "scaling-f1")
    assert curve(small) == {1000: 2.05, 4000: 2.25}
    assert curve(large) == {1000: 2.45, 4000: 2.65}
    assert set(curve(large, "scaling/cliff_height")) == {1000, 4000}


def test_a_second_drawing_replaces_the_first(tmp_path, runs):
    draw(tmp_path, runs)
    paths = draw(tmp_path, [replace(run, best=1.0) for run in runs])
    assert [len(list(path.iterdir())) for path in paths] == [1, 1]
    assert curve(paths[0]) == {1000: 1.0, 4000: 1.0}


def test_unfinished_runs_have_no_part_in_the_means(tmp_path, runs):
    failed = [replace(run, state="failed") if run.seed == 1 else run for run in runs]
    assert curve(draw(tmp_path, failed)[0]) == {1000: 2.0, 4000: 2.2}


def test_a_fraction_that_is_no_number_costs_its_own_run_alone(tmp_path, runs):
    odd = replace(runs[0], config={**runs[0].config, "data.fraction": None})
    assert [path.name for path in draw(tmp_path, [odd, *runs])] == ["scaling-f0.25", "scaling-f1"]


def test_kinds_of_models_are_not_joined_to_a_curve(tmp_path, runs, caplog):
    caplog.set_level(logging.INFO, "gptexp")
    for run in runs:
        run.config["model.kind"] = "gpt" if run.params == 1000 else "mlp"
    assert draw(tmp_path, runs) == []
    assert all(line.endswith("its runs differ in model.kind") for line in caplog.messages)
    assert caplog.messages


def test_losses_in_several_tokens_are_not_joined_to_a_curve(tmp_path, runs, caplog):
    caplog.set_level(logging.INFO, "gptexp")
    for run in runs:
        run.config["tokenizer.name"] = "char" if run.params == 1000 else "gpt2"
    assert draw(tmp_path, runs) == []
    assert caplog.messages
    assert all(line.endswith("its runs have several tokenizers") for line in caplog.messages)


def test_sizes_that_mix_more_than_seeds_are_left_out_with_a_line(tmp_path, runs, caplog):
    caplog.set_level(logging.INFO, "gptexp")
    draw(tmp_path, runs)
    assert not caplog.messages
    runs[0].config["optim.lr"] = 0.5
    assert [path.name for path in draw(tmp_path, runs)] == ["scaling-f1"]
    [line] = caplog.messages
    assert line.endswith("of data.fraction=0.25: runs of one size differ in optim.lr")
    assert [path.name for path in tmp_path.glob("scaling-*")] == ["scaling-f1"]


def test_a_drawing_that_another_sweep_removes_first_is_no_error(tmp_path, runs, monkeypatch):
    draw(tmp_path, runs)
    unlink = Path.unlink

    def twice(path, missing_ok=False):
        unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", twice)
    assert len(draw(tmp_path, runs)) == 2


def test_a_single_size_is_no_curve_and_no_reason_for_a_line(tmp_path, runs, caplog):
    """As of a sweep over learning rates."""
    caplog.set_level(logging.INFO, "gptexp")
    runs[0].config["optim.lr"] = 0.5
    assert draw(tmp_path, [run for run in runs if run.params == 1000]) == []
    assert not caplog.messages


def test_a_chart_is_not_taken_for_a_run(tmp_path, runs):
    folder = tmp_path / "grid"
    before, _ = collect([folder])
    draw(folder, runs)
    assert [run.path for run in collect([folder])[0]] == [run.path for run in before]


def test_a_sweep_with_tensorboard_ends_with_its_curve(small, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sweep_run, "OUTPUTS", tmp_path / "outputs")
    points = []
    for width in (16, 32):
        config = put(small("name=grid", "seed=3"), "model.n_embd", width)
        outcome = run_experiment(config, tmp_path / "outputs")
        config.logger.tensorboard = True
        points.append(sweep_run.SweepPoint([f"model.n_embd={width}"], config, outcome))
    sweep_run.draw(points)
    path = tmp_path / "outputs" / "grid" / "scaling-f1"
    sizes = [json.loads((p.outcome.path / "summary.json").read_text()) for p in points]
    assert curve(path) == {size["params"]["total"]: size["best"]["val_loss"] for size in sizes}

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(scaling_curve, "draw", fail)
    sweep_run.draw(points)
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning.endswith("no room")


def test_a_sweep_without_tensorboard_draws_nothing(small, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "OUTPUTS", tmp_path / "outputs")
    outcome = run_experiment(small("name=grid"), tmp_path / "outputs")
    sweep_run.draw([sweep_run.SweepPoint([], small("name=grid"), outcome)])
    assert not list(tmp_path.rglob("scaling-*"))


def test_what_a_link_leads_to_is_not_replaced(tmp_path, runs):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    kept = elsewhere / "events.out.tfevents.1"
    kept.touch()
    (tmp_path / "scaling-f0.5").symlink_to(elsewhere)
    draw(tmp_path, runs)
    assert kept.exists()
