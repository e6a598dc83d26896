"""The command lines end to end, each in a process of its own or through its own front door."""

import subprocess
import sys

import pytest
from conftest import ROOT, SMALL
from typer.testing import CliRunner

from gptexp import cli, experiment


def run_py(folder, *arguments):
    """`python run.py ...` in `folder`."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )


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
        "tensorboard --logdir outputs",
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


def test_G1_a_bad_point_of_a_sweep_leaves_the_others_running_and_exits_1(tmp_path, text_file):
    sweep = [item for item in SMALL if not item.startswith("model.n_head")]
    done = run_py(tmp_path, "-m", *sweep, f"data.path={text_file}", "model.n_head=1,3,4")
    assert done.returncode == 1
    assert done.stderr.count("gptexp: error: model.n_embd: 16 is not a multiple") == 1
    table = done.stdout.splitlines()[-3:]
    assert [line.split()[0] for line in table] == ["done", "refused", "done"]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def run(small, tmp_path):
    return experiment.run(small(), tmp_path / "outputs").directory


def gptexp(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_gptexp_sample_draws_the_same_texts_for_the_same_seed(run):
    words = ["--prompt", "to be", "--temperature", 0.8, "--top-k", 4, "--num", 3, "--seed", 1]
    first = gptexp("sample", run, *words, "--tokens", 20)
    assert first.exit_code == 0
    assert first.output.count("to be") >= 3
    assert "--- 3 of 3 ---" in first.output
    assert gptexp("sample", run, *words, "--tokens", 20).output == first.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--prompt", "ü"], "U+00FC"),
        (["--temperature", "-1"], "--temperature: -1.0"),
        (["--temperature", "nan"], "--temperature: nan"),
        (["--top-k", "0"], "--top-k: 0"),
        (["--num", "0", "--tokens", "0"], "--tokens: 0"),
        (["--seed", "-1"], "--seed: -1"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_gptexp_sample_words_every_mistake_in_one_line(run, arguments, named, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gptexp", "sample", str(run), *arguments])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert named in error.splitlines()[0]
    assert all(
        line.startswith("gptexp: error: ") and "Fix: " in line for line in error.splitlines()
    )


def test_gptexp_sample_without_a_run_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gptexp", "sample", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    assert "not there" in capsys.readouterr().err
