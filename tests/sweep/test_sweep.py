"""A sweep trains what is to be trained, skips what is over, and ends with its table (group G)."""

import json
import os
import shutil
import signal

import pytest
from hydra.core.plugins import Plugins
from interruptions import before
from sweep_runs import only_path, states, table

from gptexp.experiment import prepare
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState
from gptexp.sweep import points
from gptexp.training.trainer import Trainer


def test_G1_bad_relations_are_listed_before_the_first_job_and_the_others_run(runs, trained):
    result = runs("model.n_head=3,1,5", "model.dropout=0.1,0.2")
    assert result.code == 1
    assert states(result.out) == [*["refused"] * 2, *["done"] * 2, *["refused"] * 2]
    assert len(trained) == 2
    errors = [line for line in result.errors if line.startswith("model.n_embd: 16 is not a ")]
    assert len(result.errors) == len(errors) == 2, "each distinct problem once"
    listed = result.out.index("refused       5/6  n_head=5 dropout=0.1")
    assert listed < result.out.index("3/6  n_head=1 dropout=0.1  starts")
    bad = [row.rest for row in table(result.out) if row.state == "refused"]
    assert all("model.n_embd: 16 is not a multiple of model.n_head=" in row for row in bad)


@pytest.mark.slow
def test_G1_a_point_that_fails_in_training_leaves_the_others_running(runs, monkeypatch):
    def fail(trainer):
        if trainer.state.seed == 1:
            raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", fail, patch)
        result = runs("seed=0,1,2")
    assert result.code == 1
    assert states(result.out) == ["done", "failed", "done"]
    assert "a bug in gptexp, ZeroDivisionError: oops" in table(result.out)[1].rest
    log = RunDirectory(only_path("*-s1-*")).log.read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: oops" in log
    again = runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["already done", "done", "already done"])


def test_a_diverged_point_is_kept_and_listed_unless_it_is_to_be_retried(runs, trained):
    given = ["optim.lr=1e-3,1e30", "schedule.warmup_steps=0", "trainer.grad_clip=0"]
    first, second = runs(*given), runs(*given)
    assert (first.code, second.code) == (1, 1)
    assert states(first.out) == ["done", "diverged"]
    assert states(second.out) == ["already done", "diverged"]
    assert "diverged before" in table(second.out)[1].rest
    assert len(trained) == 2
    assert runs(*given, "trainer.retry_failed=true").code == 1
    assert len(trained) == 3


@pytest.mark.slow
def test_a_finished_sweep_again_is_one_line_and_the_table_and_starts_no_job(command_runs, trained):
    first = command_runs("seed=0,1")
    second = command_runs("seed=0,1")
    assert (first.code, second.code) == (0, 0)
    assert len(trained) == 2
    assert states(second.out) == ["already done"] * 2
    assert second.out.startswith("already done  2 of 2 points\n\n2 points: 2 already done\n")
    assert [row[1:] for row in table(first.out)] == [row[1:] for row in table(second.out)]


@pytest.mark.slow
def test_G4_a_grid_extended_or_reordered_keeps_its_finished_points(runs, trained):
    runs("seed=0,1")
    first = list(trained)
    more = runs("seed=1,0", "optim.lr=1e-2,1e-3")
    assert states(more.out) == ["done", "already done", "done", "already done"]
    assert len(trained) == 4
    assert len(set(trained)) == 4
    assert trained[:2] == first


@pytest.mark.slow
def test_G5_a_point_in_use_is_reported_and_the_same_command_finishes_it(runs, trained):
    runs("seed=1")
    path = only_path("*-s1-*")
    shutil.rmtree(path)
    with RunDirectory(path).locked():
        RunDirectory(path).set_status(RunState.running)
        result = runs("seed=0,1,2")
    assert result.code == 6
    assert states(result.out) == ["done", "in use", "done"]
    assert f"{path}: in use by process " in result.err
    again = runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["already done", "done", "already done"])


@pytest.mark.slow
def test_I8_a_damaged_point_stops_neither_its_sweep_nor_the_points_beside_it(runs, trained):
    runs("seed=0,1,2")
    damaged = only_path("*-s1-*") / "summary.json"
    damaged.write_text("{")
    again = runs("seed=0,1,2,3")
    assert again.code == 1
    assert states(again.out) == ["already done", "damaged", "already done", "done"]
    assert f"{damaged}: damaged: " in table(again.out)[1].rest
    assert len(trained) == 4
    damaged.unlink()  # as the line says
    assert states(runs("seed=0,1,2,3").out) == ["already done", "done", *["already done"] * 2]


def test_G6_code_that_changed_is_named_in_the_table(runs):
    runs("seed=0,1")
    path = only_path("*-s1-*")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sources"]["models/gpt.py"] = "another"
    (path / "manifest.json").write_text(json.dumps(manifest))
    again = runs("seed=0,1")
    assert again.code == 0
    assert "already done  2 of 2 points, 1 by other code\n" in again.out
    changed = ", by other code: models/gpt.py changed"
    assert [row.rest.endswith(changed) for row in table(again.out)] == [False, True]


@pytest.mark.slow
def test_G6_a_text_that_changed_makes_new_points_and_is_named(runs, trained, text_file):
    runs("seed=0")
    text_file.write_text(text_file.read_text() + "more\n")
    again = runs("seed=0,1")
    assert (again.code, states(again.out)) == (0, ["done"] * 2)
    assert len(set(trained)) == 3
    assert again.err.count("has changed since") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_D1_D2_G8_a_signal_saves_the_current_point_and_starts_no_new_one(
    command_runs, trained, monkeypatch, number
):
    def press(trainer):
        if trainer.state.seed == 1 and trainer.step == 6:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", press, patch)
        result = command_runs("seed=0,1,2")
    assert result.code == 128 + number
    assert states(result.out) == ["done", "interrupted", "not started"]
    [row] = [line for line in result.out.splitlines() if line.startswith("interrupted")]
    assert row.endswith(
        "s1     saved at step 7 of 12; the same command goes on from there "
        "(rerun=true would start anew)"
    )
    assert (only_path("*-s1-*") / "checkpoints" / "step-7.pt").exists()
    assert [line.partition(";")[0] for line in result.err.splitlines()] == [
        "gptexp: 2/3 s1: interrupted: saved at step 7 of 12",
        "gptexp: interrupted: 1 of 3 points done",
    ]
    assert all("; the same command goes on" in line for line in result.err.splitlines())
    again = command_runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["already done", "done", "done"])
    assert "2/3  s1  goes on at step 7: 5 steps, " in again.out
    assert len(trained) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_G8_a_signal_between_two_points_ends_the_sweep_with_its_table(
    command_runs, monkeypatch, number
):
    def press(config, *_):
        if config.seed == 1:
            signal.raise_signal(number)

    before(points, "run_experiment", press, monkeypatch)
    result = command_runs("seed=0,1,2")
    assert result.code == 128 + number
    assert states(result.out) == ["done", "not started", "not started"]


@pytest.mark.slow
def test_a_search_sweeper_gets_the_best_validation_loss(command_runs, monkeypatch):
    classes = Plugins.instance().class_name_to_class  # Hydra imports its plugins a second time
    basic = classes["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
    returned = []
    sweep_of_hydra = basic.sweep

    def kept(self, arguments):
        returned.extend(sweep_of_hydra(self, arguments))

    monkeypatch.setattr(basic, "sweep", kept)
    result = command_runs("seed=0,1", "hydra/sweeper=basic")
    assert result.code == 0
    losses = [job.return_value for job in returned[0]]
    best = [json.loads((only_path(f"*-s{n}-*") / "summary.json").read_text()) for n in (0, 1)]
    assert losses == [summary["best"]["val_loss"] for summary in best]


@pytest.mark.slow
def test_points_of_more_steps_extend_those_of_fewer_whatever_their_order(runs):
    given = ["schedule=constant", "trainer.max_steps=14,10,12"]
    result = runs(*given)
    assert states(result.out) == ["done"] * 3
    assert "2/3  max_steps=10  starts: 10 steps, " in result.out
    assert "3/3  max_steps=12  goes on at step 10: 2 steps, " in result.out
    assert "1/3  max_steps=14  goes on at step 12: 2 steps, " in result.out


@pytest.mark.slow
def test_the_points_of_a_sweep_read_once_what_they_have_in_common(runs, text_file, monkeypatch):
    read = []
    load = prepare.load_text
    monkeypatch.setattr(prepare, "load_text", lambda *given: read.append(given[2]) or load(*given))
    assert runs("seed=0,1,2").code == 0
    assert len(read) == 1
    assert runs("model.block_size=4").code == 0
    assert len(read) == 2, "the context is a part of how a text is cut"
    text_file.write_text(text_file.read_text() + "one more line\n")
    assert runs("seed=0,1").code == 0
    assert len(read) == 3
    assert read[-1] != read[0], "a text that has changed is another one"
