"""The Python face: train, train_grid, load_runs and load, as a notebook calls them."""

import logging
from pathlib import Path
from unittest.mock import Mock

import pytest
from small_runs import SMALL, problem_lines

import gptexp
from gptexp.config import from_overrides
from gptexp.errors import ConfigError, DataError, DivergedError
from gptexp.inference import load
from gptexp.runs.state import RunState

WORDS = [*SMALL, "logger=none", "trainer.max_steps=4", "trainer.eval_interval=2"]


@pytest.fixture
def words(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return [*WORDS, "data=text", f"data.path={text_file}"]


def test_a_run_is_trained_once_and_loaded(words, composed, monkeypatch):
    outcome = gptexp.train(words, quiet=True)
    assert (outcome.state, outcome.path.parent) == (RunState.done, Path("outputs/default"))
    again = gptexp.train(composed(*words), quiet=True)
    assert (again.state, again.path) == (RunState.already_done, outcome.path)
    run = gptexp.load(outcome.path)
    assert run.summary["best"]["val_loss"] == outcome.best_val_loss
    too_large = Mock(side_effect=RuntimeError("can't allocate memory"))
    monkeypatch.setattr(load, "construct", too_large)
    with pytest.raises(RuntimeError, match="allocate"):  # and not that parts do not fit together
        gptexp.load(outcome.path)


def test_a_grid_is_a_list_of_outcomes_and_its_runs_are_rows(words):
    outcomes = gptexp.train_grid([*words, "name=lr", "optim.lr=1e-3,1e-2", "seed=0,1"], quiet=True)
    assert [outcome.state for outcome in outcomes] == [RunState.done] * 4
    runs = gptexp.load_runs("outputs/lr")
    rows = runs.rows()
    assert sorted((row["optim.lr"], row["seed"]) for row in rows) == [
        *((0.001, 0), (0.001, 1), (0.01, 0), (0.01, 1))
    ]
    losses = {outcome.path.name: outcome.best_val_loss for outcome in outcomes}
    assert {Path(row["path"]).name: row["best"] for row in rows} == losses
    assert repr(runs).splitlines()[0].split()[:2] == ["lr", "seed"]
    best = min(runs, key=lambda run: run.best)
    assert gptexp.load(best).path == gptexp.load("best:outputs/lr").path == best.path
    assert len(gptexp.load_runs()) == 4


def test_a_point_that_is_refused_stops_no_other(words):
    outcomes = gptexp.train_grid([*words, "optim.lr=-1,1e-3"], quiet=True)
    assert [outcome.state for outcome in outcomes] == [RunState.refused, RunState.done]


def test_what_the_command_refuses_is_raised(words):
    with pytest.raises(ConfigError, match="optim.lr: -1"):
        gptexp.train([*words, "optim.lr=-1"])
    with pytest.raises(ConfigError, match="did you mean model.n_embd"):
        gptexp.train([*words, "model.n_embdd=3"])
    with pytest.raises(DataError, match="nowhere.txt"):
        gptexp.train([*words, "data.path=nowhere.txt"], quiet=True)
    with pytest.raises(DivergedError):
        gptexp.train([*words, "optim=sgd", "optim.lr=1e30", "trainer.grad_clip=0"], quiet=True)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: gptexp.train("seed=1"), "overrides: 'seed=1' is no list. Fix: a list, as "),
        (lambda: gptexp.train([1]), "overrides: 1 is no text"),
        (lambda: gptexp.train(["seed=0,1"]), "overrides: 2 points, and this trains one"),
        (lambda: gptexp.train_grid(7), "overrides: 7 is no list"),
        (lambda: gptexp.load(7), "run: 7 is no path"),
        (
            lambda: gptexp.load("a", device="banana"),
            "device: banana is not there; this machine has",
        ),
        (lambda: gptexp.ensemble("outputs/lr"), "runs: 'outputs/lr' is no list of runs. Fix: a l"),
        (lambda: gptexp.ensemble(Path("lr")), "runs: 'lr' is no list of runs"),
        (lambda: gptexp.ensemble([]), "runs: '[]' is no list of runs"),
        (lambda: gptexp.ensemble(["a"], device="cuda:99"), "device: cuda:99 is not there"),
        (lambda: gptexp.load_runs(None), "run: None is no path"),
        (lambda: gptexp.load_runs("nowhere"), "nowhere: not there"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, monkeypatch, call, line):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        call()
    assert problem_lines(error.value)[0].startswith(line)


def test_messages_are_shown_for_as_long_as_it_trains(words, capsys):
    logger = logging.getLogger("gptexp")
    before = list(logger.handlers)
    gptexp.train(words)
    assert "best    " in capsys.readouterr().out
    assert logger.handlers == before
    gptexp.train([*words, "seed=1"], quiet=True)
    assert capsys.readouterr().out == ""


def test_a_damaged_run_is_a_warning_and_the_others_are_there(words, warnings):
    path = gptexp.train(words, quiet=True).path
    gptexp.train([*words, "seed=1"], quiet=True)
    (path / "summary.json").write_text("{")
    assert [run.state for run in gptexp.load_runs()] == [RunState.damaged, RunState.done]
    assert "damaged" in warnings()[-1]


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("optim", "lr", "x", "config: optim.lr: Value 'x' of type 'str' could not be converted"),
        ("trainer", "max_steps", 1.5, "config: trainer.max_steps: "),
        (None, "optim", None, "optim: None is no section. Fix: "),
        (None, "seed", "one", "config: seed: "),
        (None, "plugins", "my_metrics", "plugins: 'my_metrics' is no list of modules. Fix: "),
    ],
)
def test_a_config_with_a_value_of_another_type_is_one_line(words, section, key, value, line):
    config = from_overrides(words)
    setattr(getattr(config, section) if section else config, key, value)
    with pytest.raises(ConfigError) as error:
        gptexp.train(config, quiet=True)
    assert problem_lines(error.value)[0].startswith(line)
