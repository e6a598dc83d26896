"""How far a sweep is, and the time that its rest will take."""

import pytest

from gptexp.models import counts
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import LAST
from gptexp.runs.state import Outcome, RunState
from gptexp.sweep import pace as sweep_pace
from gptexp.sweep.pace import Pace, cost
from gptexp.sweep.points import SweepPoint


@pytest.fixture
def clock(monkeypatch):
    """`clock[0]` is the time."""
    now = [0.0]
    monkeypatch.setattr(sweep_pace.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def pace(small, tmp_path):
    """`pace(["seed=0"], ["seed=1"])`: of jobs that are to be trained, of two points more."""

    def call(*overrides: list[str]) -> Pace:
        outcomes = [Outcome(RunState.not_started, tmp_path / str(n)) for n in range(len(overrides))]
        jobs = [SweepPoint(o, small(*o), e) for o, e in zip(overrides, outcomes, strict=True)]
        return Pace(len(jobs) + 2, jobs)

    return call


def test_the_rest_takes_as_long_as_points_that_are_over(pace, clock):
    found = pace(*([f"seed={n}"] for n in range(4)))
    assert str(found) == "2 of 6 points over"
    for place, seconds in enumerate((100, 200)):
        found.begin(place)
        clock[0] += seconds
        found.end(place, trained=True)
    assert str(found) == "4 of 6 points over, about 5:00 left"
    found.begin(2)
    clock[0] += 50
    assert found.seconds_left() == 250
    for place in (2, 3):
        found.end(place, trained=True)
    assert str(found) == "6 of 6 points over"


def test_a_point_that_costs_more_takes_more(pace, clock):
    found = pace(["model.n_embd=16"], ["model.n_embd=16"], ["model.n_embd=32"])
    found.begin(0)
    clock[0] += 10
    found.end(0, trained=True)
    small, _, large = found.costs
    assert large > 2 * small
    assert found.seconds_left() == pytest.approx(10 + 10 * large / small)


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["trainer.max_steps=24"], 2),
        (["trainer.grad_accum=3"], 3),
        (["trainer.max_tokens=3840"], 10),
    ],
)
def test_a_cost_follows_the_budget(small, words, times):
    assert cost(small(*words)) == times * cost(small())


def test_epochs_and_flops_are_budgets_too(small):
    once, part = small("trainer.max_epochs=2"), small("trainer.max_epochs=2", "data.fraction=0.5")
    assert cost(part) == cost(once) / 2
    assert cost(small("trainer.max_flops=1e9")) == 1e9


def test_points_that_were_not_trained_from_start_to_end_say_nothing_of_time(pace, clock, tmp_path):
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "0" / "checkpoints" / LAST).touch()
    found = pace(["seed=0"], ["seed=1"], ["seed=2"])
    for place, trained in enumerate((True, False)):  # one was taken up, one failed
        found.begin(place)
        clock[0] += 10
        found.end(place, trained)
    assert str(found) == "4 of 5 points over"


def test_what_other_processes_train_is_seen_on_the_disk(pace, clock, tmp_path):
    found = pace(*([f"seed={n}"] for n in range(4)))
    runs = [RunDirectory(tmp_path / str(n)) for n in range(4)]
    for run in runs[:2]:
        run.path.mkdir()
        run.set_status(RunState.running)
    found.look()
    clock[0] += 60
    runs[0].set_status(RunState.done)
    found.look()
    # One is about to end, and two more wait, for two processes.
    assert str(found) == "3 of 6 points over, about 1:00 left"


def test_what_an_earlier_command_left_is_not_over(small, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.set_status(RunState.failed)
    outcome = Outcome(RunState.not_started, run.path)
    found = Pace(1, [SweepPoint([], small(), outcome, stamp=run.status_stamp())])
    found.look()
    assert not found.over
    run.set_status(RunState.failed)
    found.look()
    assert found.over


def test_a_line_is_said_whenever_one_ends(pace, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "gptexp")
    monkeypatch.setattr(sweep_pace, "LOOK_SECONDS", 0.01)
    found = pace(["seed=0"], ["seed=1"])
    with found.watched():
        (tmp_path / "0").mkdir()
        RunDirectory(tmp_path / "0").set_status(RunState.done)
        for _ in range(500):
            if caplog.messages:
                break
            sweep_pace.threading.Event().wait(0.01)
    assert caplog.messages == ["3 of 4 points over"]


def test_points_of_a_model_without_flops_have_a_time_too(pace, clock, monkeypatch):
    monkeypatch.setattr(counts, "flops_per_token", lambda *_: 0)
    found = pace(["seed=0"], ["trainer.max_steps=24"])
    found.begin(0)
    clock[0] += 60
    found.end(0, trained=True)
    assert str(found) == "3 of 4 points over, about 2:00 left"
