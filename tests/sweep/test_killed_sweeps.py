"""Sweeps that are killed, or run beside each other, end as one that was left alone."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from interruptions import before, die, forked, killed_after
from small_runs import metrics
from sweep_runs import run_name, run_py, small_grid, states, table

from gptexp.training.state import TrainState
from gptexp.training.trainer import Trainer


@pytest.mark.slow
def test_G5_two_sweeps_at_once_do_each_point_once(tmp_path, text_file):
    counted = tmp_path / "counted"

    def count(trainer, _):
        with counted.open("a") as file:
            file.write(f"{run_name(trainer)}\n")

    def child(shown):
        with pytest.MonkeyPatch.context() as patch:
            before(Trainer, "fit", count, patch)
            return run_py(small_grid(text_file, "seed=0,1,2,3"), tmp_path, tmp_path / shown)

    with ThreadPoolExecutor() as pool:  # each waits for its own child
        codes = set(pool.map(lambda shown: forked(lambda: child(shown)), ["one", "two"]))
    assert codes <= {0, 6}
    names = counted.read_text().split()
    assert len(names) == len(set(names)) == 4
    assert forked(lambda: child("three")) == 0
    assert states((tmp_path / "three").read_text()) == ["already done"] * 4
    for run in (tmp_path / "outputs" / "default").iterdir():
        steps = [row["step"] for row in metrics(run) if "val/loss" in row]
        assert steps == [0, 4, 8, 12]


@pytest.mark.slow
def test_P7_G3_a_sweep_killed_anywhere_and_issued_again_ends_like_one_that_was_not(
    tmp_path, text_file
):
    """Killed at steps, saves and summaries that no two of its points share."""
    sweep_of = small_grid(text_file, "seed=0,1,2", "model.n_head=1,3")
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    shown = tmp_path / "shown"
    assert forked(lambda: run_py(sweep_of, tmp_path / "straight", shown)) == 1

    def at(owner, name, seed, wanted):
        def kill(*arguments):
            state = getattr(arguments[0], "state", arguments[0])  # of a trainer, or itself
            if (state.seed, state.step) == (seed, wanted):
                die()

        return lambda: before(owner, name, kill)

    deaths = [
        at(Trainer, "train_step", 0, 0),
        at(Trainer, "train_step", 0, 6),
        at(Trainer, "save", 0, 12),
        at(Trainer, "evaluate_if_due", 1, 8),
        at(TrainState, "state_dict", 2, 4),
    ]

    def child(arrange):
        arrange()
        return run_py(sweep_of, tmp_path / "killed", tmp_path / "partial")

    for arrange in deaths:
        assert forked(lambda arrange=arrange: child(arrange)) == -signal.SIGKILL
    rows = []
    for name in ("straight", "killed", "straight", "killed"):
        assert forked(lambda name=name: run_py(sweep_of, tmp_path / name, shown)) == 1
        rows.append(table(shown.read_text()))
    assert rows[2] == rows[3]
    assert {row.state for row in rows[3]} == {"already done", "refused"}
    for run in (tmp_path / "straight" / "outputs" / "default").iterdir():
        other = tmp_path / "killed" / "outputs" / "default" / run.name
        assert metrics(run) == metrics(other)


@pytest.mark.slow
def test_G3_a_sweep_killed_at_random_moments_and_issued_until_done_ends_the_same(
    tmp_path, text_file
):
    sweep_of = small_grid(
        text_file, "seed=0,1,2", "trainer.max_steps=60", "trainer.eval_interval=6"
    )
    shown = tmp_path / "shown"
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    began = time.monotonic()
    assert forked(lambda: run_py(sweep_of, tmp_path / "straight", shown)) == 0
    straight, whole = table(shown.read_text()), time.monotonic() - began
    work = partial(run_py, sweep_of, tmp_path / "killed", shown)
    moments, kills = random.Random(0), 0
    wait = 0.6 * whole  # then any; some of it is spent before the first point
    while killed_after(work, wait):
        kills += 1
        # Longer and longer, since the machine may have become slower than it was.
        wait = moments.uniform(0.3, 1.3) * whole * (1 + kills / 5)
        assert kills < 20, "it gets nowhere"
    assert kills > 0
    assert forked(lambda: run_py(sweep_of, tmp_path / "killed", shown)) == 0
    rows = table(shown.read_text())
    assert [row._replace(state="done") for row in rows] == straight
    for run in (tmp_path / "straight" / "outputs" / "default").iterdir():
        assert metrics(run) == metrics(tmp_path / "killed" / "outputs" / "default" / run.name)
