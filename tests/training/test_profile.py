"""`trainer.profile`: a trace of some steps, and the run as it would be without."""

import gzip
import json
from pathlib import Path

import pytest
from interruptions import kill_before_step
from small_runs import metrics, samples, summary

from gptexp.errors import Problem, StorageError
from gptexp.experiment.integrity import read_record
from gptexp.experiment.run import run_experiment
from gptexp.runs.checkpoint import Store
from gptexp.training import profile


def traces(run: Path) -> dict[str, int]:
    """The traces of a run by name, each with the number of its steps."""
    found = {}
    for path in sorted(run.glob("profile-*")):
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
        steps = {event["name"] for event in events if event.get("name", "").startswith("Profiler")}
        assert any("mm" in event.get("name", "") for event in events)
        found[path.name.removesuffix(profile.SUFFIX)] = len(steps)
    return found


def test_a_traced_run_is_bit_for_bit_the_run_without(small, finished, tmp_path, capfd) -> None:
    run = run_experiment(small("trainer.profile=4"), tmp_path / "traced").path
    assert run is not None
    assert run.name == finished.name
    assert traces(run) == {"profile-2-5": 4}
    for content in (metrics, samples, summary):
        assert content(run) == content(finished)
    assert "profiler_start" not in capfd.readouterr().err  # which its library would say


def test_a_trace_in_a_run_directory_is_no_damage(small, tmp_path) -> None:
    run = run_experiment(small("trainer.profile=1"), tmp_path).path
    assert read_record(run).damage == []


@pytest.mark.parametrize(("steps", "expected"), [(1, []), (3, ["profile-2-3"])])
def test_of_a_run_that_is_shorter_the_steps_that_come_are_traced(
    small, tmp_path, steps, expected
) -> None:
    run = run_experiment(small("trainer.profile=9", f"trainer.max_steps={steps}"), tmp_path).path
    assert list(traces(run)) == expected


@pytest.mark.slow
def test_a_resumed_run_traces_steps_of_its_own(small, tmp_path) -> None:
    config = small("trainer.profile=2")
    kill_before_step(config, tmp_path, 6)
    run = run_experiment(config, tmp_path).path
    assert traces(run) == {"profile-2-3": 2, "profile-6-7": 2}  # it goes on at step 4


def test_a_trace_that_cannot_be_written_is_named_and_training_goes_on(
    small, tmp_path, monkeypatch, warnings
) -> None:
    def full(source: Path, target: Path) -> None:
        raise StorageError(Problem(target, "no space left", "free some"))

    monkeypatch.setattr(profile, "copy_file", full)
    outcome = run_experiment(small("trainer.profile=2"), tmp_path)
    assert outcome.state == "done"
    assert "trainer.profile: no trace is written: " in warnings()[0]
    assert traces(outcome.path) == {}
    assert Store(outcome.path / "checkpoints").latest() is not None


def test_a_run_that_is_done_says_that_it_is_not_traced(small, finished, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    assert run_experiment(small("trainer.profile=2"), finished.parents[1]).state == "already done"
    assert "so no step is traced (rerun=true trains it anew)" in caplog.text
    assert traces(finished) == {}
