"""How a launcher's answers, and what stands on the disk, become the table and the exit code."""

import pytest
from interruptions import kill_before_step

from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.experiment.run import OUTPUTS, run_experiment
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import NOT_STARTED, Outcome, RunState
from gptexp.sweep.run import SweepPoint, exit_code, run_sweep


def point(overrides="seed=1", outcome=NOT_STARTED, config=None):
    return SweepPoint([overrides], config or ConfigError(Problem("seed", "x", "y")), outcome)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], 0),
        ([0, 6], 6),
        ([0, 2], 1),
        ([3, 6], 1),
        ([0, 130, 1], 130),
        ([143, 1], 143),
        ([], 0),
    ],
)
def test_the_exit_code_of_a_sweep(codes, expected):
    assert (
        exit_code([point(outcome=Outcome(RunState.failed, error_code=code)) for code in codes])
        == expected
    )


@pytest.mark.slow
def test_P7_what_a_launcher_loses_is_read_from_disk(small, tmp_path, monkeypatch):
    """As when a worker is killed: one point done, one killed in training, one not started."""
    monkeypatch.chdir(tmp_path)
    found = [SweepPoint([f"seed={n}"], small(f"seed={n}")) for n in range(3)]

    def launch(jobs, first):
        assert (len(jobs), first) == (3, 0)
        run_experiment(found[0].config)
        kill_before_step(found[1].config, OUTPUTS, 5)
        raise GptexpError(Problem("hydra/launcher", "a worker died", "the same command goes on"))

    assert run_sweep(found, launch, at_once=3) == 1
    assert [point.outcome.state for point in found] == ["done", "killed", "not started"]
    again = [SweepPoint(point.overrides, point.config) for point in found]

    def works(jobs, _):
        assert [point.overrides for point in jobs] == [["seed=1"], ["seed=2"]]
        return [run_experiment(point.config) for point in again[1:]]

    assert run_sweep(again, works, at_once=3) == 0
    assert [point.outcome.state for point in again] == ["already done", "done", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("rerun", [False, True])
def test_what_an_earlier_command_left_is_not_the_outcome_of_a_point_never_started(
    small, tmp_path, monkeypatch, rerun
):
    monkeypatch.chdir(tmp_path)
    found = [SweepPoint([f"seed={n}"], small(f"seed={n}")) for n in range(4)]
    for point, state in zip(found, ("interrupted", "failed", "running", "done"), strict=True):
        directory = run_experiment(point.config).path
        RunDirectory(directory).set_status(state, "earlier")
        if state != "done":
            (directory / "summary.json").unlink()
        point.config.rerun = rerun

    def gives_up(*_):
        raise GptexpError(Problem("hydra/launcher", "no workers", "the same command goes on"))

    assert run_sweep(found, gives_up, at_once=4) == 1
    last = "not started" if rerun else "already done"
    assert [point.outcome.state for point in found] == [*["not started"] * 3, last]
