"""A warm-up longer than the run: shortened where a command's config is composed, with a note."""

import dataclasses
from pathlib import Path

import pytest
from small_runs import SMALL, only

import gptexp
from gptexp.config import config_hash, from_dict, from_overrides, grid, note_long_warmup, to_dict
from gptexp.experiment.inherit import inherited

pytestmark = pytest.mark.usefixtures("quick")

LONG = ["schedule.warmup_steps=100", "trainer.max_steps=50"]
NO_DATA = "0" * 64


@pytest.fixture
def notes(caplog):
    """`notes()`: what was said of warm-ups."""
    note_long_warmup.cache_clear()
    return lambda: [m for m in caplog.messages if m.startswith("schedule.warmup_steps: ")]


def test_A9_a_warm_up_longer_than_the_run_is_as_if_the_run_s_length_were_typed(notes):
    long = from_overrides(LONG)
    assert only(notes()) == (
        "schedule.warmup_steps: 100 is longer than the run, trainer.max_steps=50; "
        "it warms up for all 50 steps"
    )
    typed = from_overrides(["schedule.warmup_steps=50", "trainer.max_steps=50"])
    assert config_hash(long, NO_DATA) == config_hash(typed, NO_DATA)
    assert long == typed


def test_A9_of_a_sweep_s_points_each_has_its_own_and_the_note_is_given_once(notes):
    points = grid.of_command(["trainer.max_steps=50,200", "seed=0,1"])
    assert [config.schedule.warmup_steps for _, config in points] == [50, 50, 100, 100]
    assert len(notes()) == 1


@pytest.mark.parametrize("key", ["init_from", "branch_from"])
def test_that_of_another_run_is_what_is_noted(finished, notes, key):
    words = [f"{key}={finished}", "trainer.max_steps=50"]
    assert inherited(from_overrides(words), words).schedule.warmup_steps == 2
    assert notes() == []
    words = [f"{key}={finished}", "trainer.max_steps=20", "schedule.warmup_steps=30"]
    assert inherited(from_overrides(words), words).schedule.warmup_steps == 20
    assert "30 is longer than the run, trainer.max_steps=20" in only(notes())


def test_a_stored_config_stays_as_it_is(notes):
    values = to_dict(from_overrides([]))
    values["trainer"]["max_steps"] = 50
    assert from_dict(values).schedule.warmup_steps == 100
    assert notes() == []


def test_a_length_that_is_none_is_refused_for_itself_alone(notes):
    config = from_overrides(["trainer.max_steps=-3"])
    assert config.schedule.warmup_steps == 100
    assert notes() == []


def test_from_python_a_config_is_fitted_as_well(text_file, tmp_path, monkeypatch, notes):
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, "logger=none", "data=text", f"data.path={text_file}", "trainer.max_steps=4"]
    config = from_overrides(words)
    own = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, warmup_steps=9))
    outcome = gptexp.train(own, quiet=True)
    assert own.schedule.warmup_steps == 9
    again = gptexp.train([*words, "schedule.warmup_steps=4"], quiet=True)
    assert (again.state, again.path) == ("already done", outcome.path)
    assert len(notes()) == 1
    stored = Path(outcome.path / "config.yaml").read_text()
    assert "warmup_steps: 4" in stored
