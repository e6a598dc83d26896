"""One config under two names is trained once: the second run is made of the files of the first."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from interruptions import before, die, forked
from judged_runs import Judge, change, contents

from gptexp.analysis.records import collect
from gptexp.analysis.render import render_table
from gptexp.analysis.table import build_table
from gptexp.experiment import reuse
from gptexp.experiment.identity import identify
from gptexp.experiment.run import run_experiment
from gptexp.runs import provenance
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import Outcome
from gptexp.training.trainer import Trainer


@pytest.fixture
def fits(monkeypatch) -> list[int]:
    """A number for each training."""
    seen: list[int] = []
    before(Trainer, "fit", lambda *_: seen.append(1), monkeypatch)
    return seen


@pytest.fixture
def again(small, finished: Path):
    """`again("name=other")`: the run of `finished` by another command, in the same outputs/."""

    def call(*overrides: str) -> Outcome:
        config = small("name=other", *overrides)
        return run_experiment(config, finished.parents[1], list(overrides))

    return call


def inodes(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_same_run_under_another_name_is_whole_and_not_trained(
    again, finished: Path, fits, judge: Judge, caplog
) -> None:
    caplog.set_level("INFO", "gptexp")
    outcome = again()
    assert not fits
    assert (outcome.state, outcome.exit_code, outcome.note) == ("done", 0, "reused from default")
    run = outcome.path
    assert run == finished.parents[1] / "other" / finished.name
    assert (
        f"reused  {finished}: the same config, code and data; its files are linked" in caplog.text
    )
    for one in (finished, run):
        code, lines = judge(one, "prefix")
        assert code == 0
        assert lines[-1].startswith("IDENTICAL: ")
    assert again().state == "already done"


def test_it_has_its_own_name_in_its_files_and_in_tables(again, finished: Path) -> None:
    run = again("logger.tags=[mine]").path
    directory = RunDirectory(run)
    assert directory.config().name == "other"
    assert directory.config().logger.tags == ["mine"]
    origin = directory.manifest()["reused"]
    assert origin["run"] == str(finished)
    assert origin["command"] == RunDirectory(finished).manifest()["command"]
    runs, notes = collect([finished.parents[1]])
    assert not notes
    assert sorted(r.config["name"] for r in runs) == ["default", "other"]
    assert len({(r.best, r.final, r.code) for r in runs}) == 1
    assert render_table(build_table([finished.parents[1]]), "text").count(finished.name) == 2


def test_checkpoints_are_linked_and_what_may_be_appended_to_is_not(again, finished: Path) -> None:
    run = again().path
    ours, theirs = inodes(run), inodes(finished)
    shared = {name for name in ours if ours[name] == theirs.get(name)}
    assert shared == {name for name in ours if name.endswith(".pt")} != set()


@pytest.mark.parametrize("kept", ["default", "other"])
def test_without_one_of_the_two_the_other_is_whole(again, finished, judge, kept) -> None:
    outputs = finished.parents[1]
    again()
    shutil.rmtree(outputs / ({"default", "other"} - {kept}).pop())
    assert judge(outputs / kept / finished.name)[0] == 0


@pytest.mark.parametrize("worked_on", ["default", "other"])
def test_work_in_one_of_the_two_leaves_the_other_as_it_is(
    again, small, finished, worked_on
) -> None:
    """As after a damaged summary, which is deleted and made again."""
    outputs = finished.parents[1]
    again()
    other = outputs / ({"default", "other"} - {worked_on}).pop()
    stays = contents(other)
    run = outputs / worked_on / finished.name
    (run / "summary.json").unlink()
    assert run_experiment(small(f"name={worked_on}"), outputs).state == "done"
    assert contents(other) == stays


def test_a_run_of_other_code_is_trained(again, fits, monkeypatch, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    sources = {**provenance.sources(), "models/gpt.py": "0" * 64}
    monkeypatch.setattr(provenance, "sources", lambda: sources)
    outcome = again()
    assert (len(fits), outcome.note) == (1, "")
    assert "is not reused: made by other code: models/gpt.py" in caplog.text


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("trainer.sample_interval=5", "it has trainer.sample_interval=6, and this 5"),
        ("trainer.keep=all", "it has trainer.keep=best, and this all"),
        ("trainer.profile=2", "it has trainer.profile=0, and this 2"),
        ("logger=tensorboard", "TensorBoard has none of it; gptexp export "),
        ("rerun=true", ""),
    ],
)
def test_what_the_run_elsewhere_does_not_have_is_trained(again, fits, caplog, override, why):
    caplog.set_level("INFO", "gptexp")
    assert again(override).state == "done"
    assert len(fits) == 1
    assert why in caplog.text


def test_a_run_that_was_traced_is_taken_by_one_that_is_not(small, tmp_path, fits) -> None:
    for words in (["trainer.profile=1"], ["name=other"]):
        outcome = run_experiment(small(*words), tmp_path / "outputs")
        assert outcome.state == "done"
    assert (outcome.note, len(fits)) == ("reused from default", 1)


def test_a_run_that_own_code_looked_at_is_trained_without_it(
    again, finished: Path, fits, caplog
) -> None:
    """Its journal may hold what this run would not."""
    caplog.set_level("INFO", "gptexp")
    own = [{"module": "mine", "sha256": "a" * 64}]
    change(finished, "manifest.json", lambda value: value.update(plugins=own))
    assert again().state == "done"
    assert len(fits) == 1
    assert "own code may be told of a run while it trains" in caplog.text


def test_wandb_is_told_of_a_run_while_it_trains(small, finished: Path) -> None:
    config = small("name=other", "logger=wandb")
    assert list(reuse.others(config, identify(config, finished.parents[1]))) == []


@pytest.mark.slow
def test_event_files_come_with_it_where_they_are_wanted(small, tmp_path: Path, fits) -> None:
    outputs = tmp_path / "outputs"
    first = run_experiment(small("logger=tensorboard"), outputs).path
    second = run_experiment(small("logger=tensorboard", "name=other"), outputs).path
    third = run_experiment(small("name=third"), outputs).path
    assert len(fits) == 1
    events = [sorted(path.name for path in run.glob(reuse.EVENTS)) for run in (first, second)]
    assert events[0] == events[1] != []
    assert not list(third.glob(reuse.EVENTS))


@pytest.mark.parametrize("name", ["checkpoints/*.pt", "metrics.jsonl", "summary.json"])
def test_a_run_that_is_damaged_is_trained(again, finished: Path, fits, name) -> None:
    [path] = finished.glob(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert again().state == "done"
    assert len(fits) == 1


def test_a_hash_that_only_begins_alike_is_another_run(again, finished: Path, fits) -> None:
    other = "f" * 64
    change(finished, "manifest.json", lambda value: value.update(config_hash=other))
    change(finished, "summary.json", lambda value: value.update(config_hash=other))
    assert again().state == "done"
    assert len(fits) == 1


def test_a_run_in_which_another_process_works_is_trained(again, finished: Path, fits) -> None:
    with RunDirectory(finished).locked():
        assert again().state == "done"
    assert len(fits) == 1


def test_a_copy_is_made_where_no_link_reaches(again, finished, fits, judge, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    run = again().path
    assert not fits
    assert not set(inodes(run).values()) & set(inodes(finished).values())
    assert judge(run)[0] == 0


def test_D3_a_kill_while_it_is_made_leaves_nothing_half(again, finished: Path, fits) -> None:
    folder = finished.parents[1] / "other"

    def work() -> int:
        before(reuse, "copy_file", die)
        return again().exit_code

    assert forked(work) == -signal.SIGKILL
    [leftover] = folder.iterdir()
    assert leftover.name.startswith(".")
    runs, notes = collect([finished.parents[1]])
    assert ([r.path for r in runs], notes) == ([finished], [])
    assert again().note == "reused from default"
    assert [path.name for path in folder.iterdir()] == [finished.name]
    assert not fits


def test_where_another_process_is_faster_its_run_stands(again, finished, fits, monkeypatch):
    """Between the look at the folder and the rename."""
    made = []

    def faster(new: RunDirectory, *_: object) -> None:
        if not made:
            made.append(new)
            shutil.copytree(finished, new.path.parent / finished.name)

    before(reuse, "_fill", faster, monkeypatch)
    assert again().state == "done"
    assert len(made) == 1
    assert not fits
    assert [path.name for path in made[0].path.parent.iterdir()] == [finished.name]


def test_the_command_line_of_the_copy_is_its_own(again, finished: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["run.py", "name=other"])
    manifest = json.loads((again("seed=0").path / "manifest.json").read_text())
    assert manifest["command"] == ["run.py", "name=other"]
    assert manifest["overrides"] == ["seed=0"]
