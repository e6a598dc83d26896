"""D4: kills at random moments of a training, by the hundred."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from interruptions import check_pointers, fork, left, only_run, uninterrupted

from gptexp.experiment.run import run_experiment
from gptexp.runs.entries import LAST, read_entry
from gptexp.runs.lines import Lines

LONG = [
    *("trainer.max_steps=60", "trainer.log_interval=1", "trainer.eval_interval=4"),
    *("trainer.sample_interval=8", "trainer.on_overfit=observe", "model.dropout=0.2"),
]


def journals(outputs: Path) -> dict[Path, int]:
    """The journals of the runs that are not done, each with the time of its last change."""
    found = outputs.glob("*/*/metrics.jsonl")
    return {p: p.stat().st_mtime_ns for p in found if not (p.parent / "summary.json").exists()}


def trains_on(outputs: Path, before: dict[Path, int]) -> bool:
    """Whether a run has written a line since then that is not in its last checkpoint."""
    for path, changed in journals(outputs).items():
        if changed != before.get(path):
            last = read_entry(path.parent / "checkpoints" / LAST)
            if Lines(path).last().get("step", -1) > (last.step if last else -1):
                return True
    return False


def killed_in_training(work: Callable[[], object], outputs: Path, rng: random.Random) -> bool:
    """Kill `work`, in a child process, soon after a new line; False where it ended before."""
    before = journals(outputs)
    child = fork()
    if child == 0:
        code = 99
        try:
            signal.alarm(120)
            work()
            code = 0
        finally:
            os._exit(code)
    while not trains_on(outputs, before):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0, "neither killed nor done"
            return False
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_D4_a_hundred_kills_in_training_change_no_bit_of_a_run(small, tmp_path):
    rng, kills = random.Random(0), 0
    for seed in range(100):
        config, outputs = small(f"seed={seed}", *LONG), tmp_path / f"{seed}"
        while killed_in_training(lambda: run_experiment(config, outputs), outputs, rng):  # noqa: B023
            kills += 1
            check_pointers(outputs)
        assert left(only_run(config, outputs)) == uninterrupted(config, tmp_path / "straight")
        if kills >= 100:
            break
    assert kills >= 100
