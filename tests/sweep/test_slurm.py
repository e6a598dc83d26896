"""Points as jobs of Slurm, on the cluster that `sinfo` tells of; see docs/slurm.md."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import ROOT
from sweep_runs import small_grid, states


def answers(*command: str) -> str:
    """What a command of Slurm prints; nothing where there is no cluster."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def sweep(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begun(folder: Path, most_seconds: float = 60) -> bool:
    """Wait until the long point has a checkpoint behind its first step."""
    until = time.monotonic() + most_seconds
    while time.monotonic() < until:
        for file in folder.glob("outputs/default/*/checkpoints/last.json"):
            if json.loads(file.read_text())["step"] > 12:
                return True
        time.sleep(0.2)
    return False


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("told", [["scancel"], ["scancel", "--signal=USR2"]], ids=" ".join)
def test_a_job_that_is_ended_is_saved_and_the_same_command_goes_on(tmp_path, text_file, told):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    if not answers("sinfo", "-h"):
        pytest.skip("sinfo tells of no cluster")
    slurm = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=5"]
    slurm += ["hydra.launcher.name=gptexp_test", "trainer.on_overfit=observe"]
    words = small_grid(text_file, "trainer.max_steps=12,6000", "trainer.eval_interval=1000", *slurm)
    first = sweep(tmp_path, *words)
    try:
        assert begun(tmp_path)
        [job] = answers("squeue", "-h", "-n", "gptexp_test", "-t", "R", "-o", "%A").splitlines()[
            -1:
        ]
        assert answers("squeue", "-h", "-j", job)
        subprocess.run([*told, job], check=True, timeout=20)
        shown, _ = first.communicate(timeout=100)
    finally:
        first.kill()
    assert states(shown) == ["done", "interrupted"], shown
    assert first.returncode > 128
    again = sweep(tmp_path, *words)
    shown, _ = again.communicate(timeout=100)
    assert (again.returncode, states(shown)) == (0, ["already done", "done"]), shown
