"""torch.compile: where it pays, where its kernels are kept, and what is said where it fails."""

import os
from pathlib import Path

import pytest
import torch
from small_runs import weights

from gptexp.experiment.run import run_experiment
from gptexp.training import compiling


@pytest.mark.parametrize(
    ("device", "seconds", "pays"),
    [
        ("cuda", 0.0, False),
        ("cuda", 299.0, False),
        ("cuda", 301.0, True),
        ("cuda", 1e6, True),
        ("cpu", 1e6, False),
        ("mps", 1e6, False),
    ],
)
def test_it_pays_in_long_runs_on_cuda_alone(device, seconds, pays, monkeypatch):
    monkeypatch.setattr(compiling, "can_compile", lambda: True)
    assert compiling.pays(device, seconds) is pays


def test_it_never_pays_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert not compiling.pays("cuda", 1e6)
    (tmp_path / "my-cc").write_text("#!/bin/sh\n")
    (tmp_path / "my-cc").chmod(0o755)
    monkeypatch.setenv("CC", "my-cc")
    assert compiling.pays("cuda", 1e6)


@pytest.mark.parametrize("before", [None, "/tmp/torchinductor_somebody"])
def test_kernels_are_kept_in_the_users_cache(before, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(compiling.KERNELS, before or "")
    if before is None:
        monkeypatch.delenv(compiling.KERNELS)
    compiling.keep_kernels()
    assert os.environ[compiling.KERNELS] == str(tmp_path / "gptexp" / "kernels")
    assert (tmp_path / "gptexp" / "kernels").is_dir()


def test_kernels_stay_where_the_user_wants_them(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(compiling.KERNELS, str(tmp_path / "mine"))
    compiling.keep_kernels()
    assert os.environ[compiling.KERNELS] == str(tmp_path / "mine")
    assert not (tmp_path / "gptexp").exists()


def test_a_cache_folder_that_cannot_be_made_is_no_obstacle(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv(compiling.KERNELS, "/tmp/torchinductor_somebody")
    compiling.keep_kernels()
    assert os.environ[compiling.KERNELS] == "/tmp/torchinductor_somebody"


@pytest.mark.slow
def test_what_cannot_be_compiled_is_one_line(small, tmp_path, monkeypatch, compiled):
    def broken(*_: object) -> None:
        raise RuntimeError("no\ncompiler")

    eager = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: torch._dynamo.optimize(broken)(model))
    outcome = run_experiment(small("trainer.compile=true"), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("failed", 2)
    assert outcome.error.startswith("trainer.compile: torch.compile failed: ")
    assert outcome.error.endswith("Fix: trainer.compile=false")
    monkeypatch.setattr(torch, "compile", eager)
    assert run_experiment(small("trainer.compile=true"), tmp_path / "outputs").state == "done"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("maybe", "'maybe'"),
        ("on", "'on'"),
        ("'true'", "'true'"),
        ("1", "1"),
        ("null", "None"),
        ("[true]", "[True]"),
        ("{a:1}", "{'a': 1}"),
    ],
)
def test_another_value_is_refused(refused, typed, shown):
    [line] = refused("data=shakespeare", f"trainer.compile={typed}")
    fix = "trainer.compile=auto, true or false"
    assert line == f"trainer.compile: {shown} is unknown. Fix: {fix}"


@pytest.mark.slow
def test_compiled_on_a_cpu_a_run_comes_near_the_plain_one(small, tmp_path, monkeypatch):
    if not compiling.can_compile():
        pytest.skip("there is no compiler of C")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(compiling.KERNELS, "/tmp/torchinductor_nobody")
    losses = []
    for value in ("true", "false"):
        config = small(f"trainer.compile={value}", "model.dropout=0")
        outcome = run_experiment(config, tmp_path / "outputs")
        assert outcome.state == "done", outcome
        losses.append(outcome.best_val_loss)
        assert weights(outcome.path)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert list(Path(os.environ[compiling.KERNELS]).rglob("*.so"))
