"""Sweeps over SMALL runs: their points, and what the command says of them."""

import itertools

import pytest
from interruptions import before
from small_runs import Result
from sweep_runs import run_name, small_grid

from gptexp import console
from gptexp.sweep import run as sweep_run
from gptexp.sweep.points import SweepPoint
from gptexp.sweep.run import run_sweep
from gptexp.training.trainer import Trainer


@pytest.fixture
def points(command, monkeypatch):
    """`points("sweeps=lr")`: what the command would run."""

    def call(*arguments: str) -> list[SweepPoint]:
        seen: list[SweepPoint] = []
        with monkeypatch.context() as patch:
            patch.setattr(sweep_run, "run_sweep", lambda found, *_: seen.extend(found) or 0)
            result = command(*arguments)
        assert (result.code, result.err) == (0, "")
        return seen

    return call


@pytest.fixture
def command_runs(command, text_file):
    """`command_runs("seed=0,1")`: the result of a sweep of SMALL runs, by `python run.py -m`."""
    return lambda *arguments: command(*small_grid(text_file, *arguments))


@pytest.fixture
def runs(small, tmp_path, monkeypatch, capsys):
    """`runs("seed=0,1")`: the same result without Hydra between."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    console.setup()

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        code = run_sweep(sweep_points(small, *arguments), None, at_once=1)
        shown = capsys.readouterr()
        return Result(code, shown.out, shown.err)

    return call


def sweep_points(small, *arguments: str) -> list[SweepPoint]:
    """The grid over lists such as seed=0,1."""
    pairs = [argument.split("=") for argument in arguments]
    lists = [[f"{key}={value}" for value in values.split(",")] for key, values in pairs]
    return [SweepPoint(list(words), small(*words)) for words in itertools.product(*lists)]


@pytest.fixture
def trained(monkeypatch):
    """The runs that were trained, in order."""
    names: list[str] = []
    before(Trainer, "fit", lambda self, _: names.append(run_name(self)), monkeypatch)
    return names
