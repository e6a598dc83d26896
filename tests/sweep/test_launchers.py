"""Sweeps whose points run in other processes; each test runs where its launcher is installed.

A worker imports torch, which is nearly all that these take: so one sweep by joblib is asked all
that it can answer, and what test_launches.py tells of made-up answers is slow here.
"""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from small_runs import ROOT, only
from sweep_runs import small_grid, states

from gptexp.config import Dtype
from gptexp.runs.directory import RunDirectory
from gptexp.runtime.device import Hardware, device_problems, resolve_runtime

HIDDEN = ("OMP_NUM_THREADS",)  # so that joblib shares the cores itself


def run_py(folder, *arguments):
    """`python run.py ...` in `folder`."""
    environment = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )


def runs(folder):
    return sorted((folder / "outputs" / "default").iterdir())


@pytest.mark.parametrize(
    ("module", "launcher"),
    [
        ("hydra_joblib_launcher", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        pytest.param(
            "hydra_submitit_launcher", ["hydra/launcher=submitit_local"], marks=pytest.mark.slow
        ),
        pytest.param("hydra_ray_launcher", ["hydra/launcher=ray"], marks=pytest.mark.slow),
    ],
)
def test_what_became_of_points_in_other_processes_reaches_the_table(
    tmp_path, text_file, module, launcher
):
    """Of those that ran, and of those that could not: too short a text is found by the worker.

    Those of joblib share the cores.
    """
    pytest.importorskip(f"hydra_plugins.{module}")
    sweep = small_grid(text_file, "model.block_size=8,500", "model.n_head=2,3", *launcher)
    first = run_py(tmp_path, *sweep)
    assert states(first.stdout) == ["done", "refused", "refused", "refused"], first.stderr
    assert first.returncode == 1
    assert "model.block_size: 500 needs 501 tokens" in first.stdout
    if "joblib" in module:  # the others' workers write elsewhere
        assert "1/4  block_size=8 n_head=2    starts: 12 steps" in first.stdout
        [run] = [run for run in runs(tmp_path) if (run / "manifest.json").exists()]
        environment = json.loads((run / "manifest.json").read_text())["environment"]
        assert environment["threads"] == max(pytest.importorskip("joblib").cpu_count() // 2, 1)
        again = run_py(tmp_path, *sweep)
        assert states(again.stdout) == ["already done", "refused", "refused", "refused"]


@pytest.mark.slow
def test_trials_of_a_search_in_other_processes_ask_whether_they_are_pruned(tmp_path, text_file):
    pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    search = [
        "hydra/sweeper=optuna",
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=0",
        "hydra.sweeper.n_trials=3",
        "optim.lr=tag(log,interval(1e-4,1e-1))",
    ]
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    words = small_grid(text_file, *search, *parallel)
    first = run_py(tmp_path, *words)
    assert (first.returncode, states(first.stdout)) == (0, ["done", "done", "pruned"]), first.stderr
    assert "2 of 3 trials over, about " in first.stdout
    again = run_py(tmp_path, *words)
    assert states(again.stdout) == ["already done", "already done", "pruned"]


@pytest.fixture
def training(tmp_path, text_file):
    """A sweep of a short and a long point, while the long one is in its training."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    observe = ["trainer.on_overfit=observe", "trainer.eval_interval=100"]
    observe.append("trainer.checkpoint_interval=100")
    sweep = small_grid(text_file, "trainer.max_steps=12,2000", *observe, *parallel)
    program = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *sweep],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in program.stdout:
        if re.search(r" step +[2-9]00 of 2,000 ", line):
            break
    yield program, sweep
    program.kill()


def of_the_long_point(folder):
    [found] = [
        (RunDirectory(run), values)
        for run in runs(folder)
        if (values := RunDirectory(run).status())["state"] == "running"
    ]
    return found


@pytest.mark.slow
def test_G2_a_worker_is_killed_and_the_same_command_finishes(tmp_path, training):
    program, sweep = training
    _, status = of_the_long_point(tmp_path)
    os.kill(status["pid"], signal.SIGKILL)
    shown, errors = program.communicate(timeout=100)
    assert program.returncode == 1
    assert states(shown) == ["done", "killed"]
    assert "gptexp: error: hydra/launcher: " in errors
    again = run_py(tmp_path, *sweep)
    assert (again.returncode, states(again.stdout)) == (0, ["already done", "done"])
    assert "goes on at step " in again.stdout


@pytest.mark.slow
def test_G8_a_terminated_sweep_leaves_no_worker_behind(tmp_path, training):
    program, _ = training
    directory, _ = of_the_long_point(tmp_path)
    program.terminate()
    shown, _ = program.communicate(timeout=100)
    assert program.returncode == 143
    assert states(shown)[0] == "done"
    assert not directory.held()


@pytest.mark.parametrize(
    ("process", "device", "expected"),
    [
        ("LokyProcess-1", "auto", "cuda:1"),
        ("LokyProcess-4", "auto", "cuda:0"),
        ("LokyProcess-4", "cuda", "cuda"),
        ("MainProcess", "auto", "cuda"),
    ],
)
def test_joblib_s_workers_take_one_card_each(small, monkeypatch, process, device, expected):
    monkeypatch.setattr(multiprocessing.current_process(), "_name", process)
    trainer = small(f"trainer.device={device}").trainer
    trainer.dtype = Dtype.float32
    cards = Hardware(cuda_devices=2, mps=False, bfloat16=frozenset())
    assert device_problems(trainer, cards) == []
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as it will be, and no longer
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda _: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    assert str(resolve_runtime(trainer, cards).device) == expected


def test_a_launcher_that_is_not_installed_is_answered_with_how_to_install_it(refused):
    line = only(refused("-m", "seed=1,2", "hydra/launcher=nobody"))
    assert line.startswith("hydra/launcher=nobody: no such launcher. Fix: pip install ")
