"""The command lines end to end, each in a process of its own or through its own front door."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from interruptions import only_run, stop_before_step
from small_runs import ROOT, SMALL
from sweep_runs import states, table
from typer.testing import CliRunner

from gptexp.cli.app import app, main
from gptexp.experiment import prepare
from gptexp.experiment.run import run_experiment
from gptexp.experiment.screen import show_summary
from gptexp.inference import load
from gptexp.training.trainer import Trainer


def run_py(folder, *arguments):
    """`python run.py ...` in `folder`."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_what_to_type_next_names_tensorboard_where_there_is_a_board(finished, caplog):
    run = finished
    caplog.set_level("INFO", "gptexp")
    for board in (False, True):
        if board:
            (run / "events.out.tfevents.1").touch()
        caplog.clear()
        show_summary(json.loads((run / "summary.json").read_text()), run)
        said = [record.getMessage() for record in caplog.records]
        hint = "    (smoothing above 0 hides cliffs)"
        shown = f"        gptexp tensorboard {run.parent}{hint}" in said
        assert shown is board


def test_a_run_shows_where_it_is_what_it_reached_and_what_to_type_next(tmp_path, text_file):
    done = run_py(tmp_path, *SMALL, f"data.path={text_file}")
    assert (done.returncode, done.stderr) == (0, "")
    run = next((tmp_path / "outputs" / "default").iterdir())
    for expected in (
        "parameters, on cpu, float32, 1 thread",
        "bigrams occur",
        "estimated time",
        "best ",
        "sample ",
        f"run     outputs/default/{run.name}",
        f"gptexp sample outputs/default/{run.name}",
    ):
        assert expected in done.stdout
    assert done.stdout.splitlines()[0] in (run / "run.log").read_text()
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "run.log",
        "samples.jsonl",
        "status.json",
        "summary.json",
    }
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["default"]


@pytest.mark.slow
def test_G1_a_bad_point_of_a_sweep_leaves_the_others_running_and_exits_1(tmp_path, text_file):
    sweep = [item for item in SMALL if not item.startswith("model.n_head")]
    done = run_py(tmp_path, *sweep, f"data.path={text_file}", "-m", "model.n_head=1,3,4")
    assert done.returncode == 1
    assert done.stderr.count("gptexp: error: model.n_embd: 16 is not a multiple") == 1
    assert states(done.stdout) == ["done", "refused", "done"]
    for row, heads in zip(table(done.stdout), (1, 3, 4), strict=True):
        assert row.rest.startswith(f"n_head={heads} "), "what all points share is left out"
    assert "Traceback" not in done.stdout + done.stderr


def gptexp(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_gptexp_sample_draws_the_same_texts_for_the_same_seed(finished):
    words = ["--prompt", "to be", "--temperature", 0.8, "--top-k", 4, "--num", 3, "--seed", 1]
    first = gptexp("sample", finished, *words, "--tokens", 20)
    assert first.exit_code == 0
    assert first.output.count("to be") >= 3
    assert "--- 3 of 3 ---" in first.output
    assert gptexp("sample", finished, *words, "--tokens", 20).output == first.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--prompt", "ü"], "U+00FC"),
        (["--temperature", "-1"], "temperature: -1.0"),
        (["--temperature", "nan"], "temperature: nan"),
        (["--top-k", "0"], "top-k: 0"),
        (["--num", "0", "--tokens", "0"], "tokens: 0"),
        (["--seed", "-1"], "seed: -1"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_gptexp_sample_words_every_mistake_in_one_line(
    finished, arguments, named, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["gptexp", "sample", str(finished), *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert named in error.splitlines()[0]
    assert all(
        line.startswith("gptexp: error: ") and "Fix: " in line for line in error.splitlines()
    )


def test_gptexp_params_says_where_the_parameters_live(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(chr(0x100 + i) for i in range(65)) * 100)  # as many as Shakespeare's
    shown = gptexp("params", "model=medium", "data=text", f"data.path={text}").output
    for row in (
        "token table +24,960 +0.2%",
        "position table +98,304 ",
        "attention +3,548,160 ",
        "mlp +7,089,408 ",
        "norms +9,984 ",
        "head +0 ",
        "total +10,770,816 +100.0%",
        "without tables +10,647,552 ",
        "FLOPs +70,928,640 a token",
        r"memory +\d+\.\d\d GB at least, to train \d+ sequences on \w+, in \w+",
    ):
        assert re.search(row, shown), (row, shown)


def test_gptexp_params_words_a_wrong_key_as_run_py_does(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gptexp", "params", "model.n_layr=3"])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 2
    expected = "gptexp: error: model.n_layr: no such key. Fix: did you mean model.n_layer?\n"
    assert capsys.readouterr().err == expected


def test_gptexp_sample_without_a_run_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gptexp", "sample", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 2
    assert "not there" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path, text_file):
    """As with `python run.py | head -1`."""
    program = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *SMALL, f"data.path={text_file}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    program.stdout.readline()
    program.stdout.close()
    program.stderr.read()
    program.wait(timeout=100)
    assert list(tmp_path.rglob("summary.json"))


def test_what_a_run_writes_may_be_read_by_others_as_the_umask_says(small, tmp_path):
    before = os.umask(0o022)
    try:
        run = run_experiment(small(), tmp_path / "outputs").path
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in run.rglob("*.*") if path.is_file()}
    del modes[".lock"]  # of the locking library
    assert set(modes.values()) == {0o644}, modes


def test_a_bug_in_one_place_is_an_outcome_and_not_the_end_of_a_sweep(small, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(prepare, "prepare", fail)
    outcome = run_experiment(small(), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert "ZeroDivisionError: oops" in outcome.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_D9_out_of_memory_names_the_key_to_lower(small, tmp_path, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(Trainer, "train_step", fail)
    outcome = run_experiment(small(), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("failed", 2)
    assert outcome.error.startswith("trainer.batch_size: out of memory. Fix: halve it")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_D9_a_verb_that_asks_for_too_much_is_one_line(finished, capsys, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(load, "draw", fail)
    monkeypatch.setattr(sys, "argv", ["gptexp", "sample", str(finished)])
    with pytest.raises(SystemExit) as exit:
        main()
    line = "gptexp: error: memory: there is not enough. Fix: ask for less\n"
    assert (exit.value.code, capsys.readouterr().err) == (2, line)


def test_checkpoints_of_another_config_are_not_taken_up(small, tmp_path):
    config, other = small(), small("optim.lr=0.1")
    run = run_experiment(config, tmp_path / "outputs").path
    (run / "summary.json").unlink()
    outcome = run_experiment(other, tmp_path / "outputs")
    (outcome.path / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(outcome.path / "checkpoints", run / "checkpoints")
    refused = run_experiment(config, tmp_path / "outputs")
    assert (refused.state, refused.exit_code) == ("failed", 2)
    assert "belong to another config" in refused.error


def test_a_resume_keeps_the_provenance_of_the_process_before(small, tmp_path, caplog):
    config = small()
    stop_before_step(config, tmp_path / "outputs", 6)
    run = only_run(config, tmp_path / "outputs")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["environment"]["threads"] = 64
    (run / "manifest.json").write_text(json.dumps(manifest))
    run_experiment(config, tmp_path / "outputs")
    [resume] = json.loads((run / "manifest.json").read_text())["resumes"]
    assert resume["step"] == 4
    assert resume["differs"] == ["threads 64 -> 1"]
    assert resume["before"]["environment"]["threads"] == 64
    assert "environment differs: threads 64 -> 1" in caplog.text
