"""Options, dashes and sweeps without points: what W&B's agents and tired people type."""

import pickle
from pathlib import Path

import pytest
from small_runs import only

from gptexp.cli.app import main
from gptexp.config import from_overrides
from gptexp.experiment import run
from gptexp.runs.state import Outcome, RunState


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--optim.lr=1e-3"],
            "an override has no dashes. Fix: leave the dashes out: optim.lr=1e-3",
        ),
        (["--seed", "3"], "an override has no dashes. Fix: leave the dashes out: seed=3"),
        (["--model=tiny", "--cfg", "job"], "leave the dashes out: model=tiny"),
        (["--lr=1"], "options: unrecognized arguments: --lr=1. Fix: see python run.py --help"),
        (["--cfg", "all of it"], "options: argument --cfg/-c: invalid choice"),
        (
            ["-m", "seed=range(5,5)"],
            "seed: range(5,5) holds no value. Fix: list some, as in seed=1,2",
        ),
        (["-m", "model=glob(zz*)"], "model: glob(zz*) holds no value"),
        (
            ["-m", "optim.lr=interval(1e-4,1e-3)"],
            "list values, as in optim.lr=0.0001,0.001, or hydra/sweeper=optuna",
        ),
        (["hydra/sweeper=grid"], "hydra/sweeper=grid: not among the choices basic, optuna, points"),
        (["trainer.threads=100000"], "trainer.threads: 100000 is more"),
        (["--resolve"], "--resolve: it is about what --cfg shows. Fix: add --cfg job"),
        (["-sc"], "--shell-completion: it takes one of install, uninstall, query"),
        (["-sc", "install=ksh"], "with one of bash, fish, zsh. Fix: -sc install=bash"),
        (["--cfg", "job", "--package", "model.nope"], "model.nope is no section or key. Fix: one"),
        (["hydra.mode=nope"], "expected one of [RUN, MULTIRUN]. Fix: hydra.mode=RUN"),
        (["-m", "seed=choice(choice(1,2),3)"], "list the values, as in seed=1,2"),
        (["-m", "seed=range(0,100000000)"], "seed: a sweep of more than 100,000 points"),
        (["-m", "seed=range(0,999)", "optim.lr=range(1,999)"], "more than 100,000 points"),
        (["~"], "~: no choice that there is. Fix: leave it out"),
        (["model@x=tiny"], "model@x: no choice that there is. Fix: leave out the @"),
        (["null"], "null: not of the form KEY=VALUE. Fix: leave it out"),
        (["sede"], "sede: not of the form KEY=VALUE. Fix: did you mean seed=VALUE?"),
        (
            ["data=mix", "data.parts./a/b.txt=1"],
            "no key is a file. Fix: 'data.parts={/a/b.txt: 1}', which names all parts",
        ),
        (
            ["data=mix", "+data.parts.b.txt=1"],
            "data.parts.b.txt=1: no key is a file. Fix: 'data.parts={b.txt: 1}', which names",
        ),
        (["a/b.txt"], "not of the form KEY=VALUE. Fix: for a text: data=text data.path=a/b.txt"),
        (["x" * 5000 + "=1"], "(5000 characters): no such key. Fix: use one of name, seed"),
        (["model=" + "x" * 5000], "(5000 characters) is no choice. Fix: model="),
    ],
)
@pytest.mark.parametrize("full", [None, "true", "0", ""])
def test_J3_each_is_one_line_and_exit_code_2(refused, monkeypatch, words, line, full):
    if full is not None and words[0] not in ("--optim.lr=1e-3", "--lr=1", "hydra/sweeper=grid"):
        return  # all go the same way
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    if full is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", full)
    assert line in only(list(dict.fromkeys(refused(*words))))


def test_J3_a_run_among_overrides_is_no_text(refused, tmp_path):
    (run := tmp_path / "a run").mkdir()
    run.joinpath("manifest.json").write_text("{}")
    [said] = dict.fromkeys(refused(str(run)))
    assert f"Fix: 'init_from=\"{run}\"' starts from its weights" in said


def test_P3_the_option_of_hydra_s_that_reads_a_pickle_is_refused(refused, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "config.pickle"
    path.write_bytes(pickle.dumps(Bomb()))
    assert "a pickle can hold any program" in only(refused("--experimental-rerun", str(path)))
    assert not (tmp_path / "executed").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "executed").exists(), "the bomb was a dud"


@pytest.mark.parametrize("verb", ["plan", "params", "evaluate x", "explain names", "import x"])
def test_J3_dashes_before_an_override_of_a_verb_likewise(verb, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gptexp", *verb.split(), "--optim.lr=1e-3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "leave the dashes out: optim.lr=1e-3" in only(capsys.readouterr().err.splitlines())


def test_J3_a_command_of_no_words_trains_the_config_as_it_is(command, monkeypatch):
    given = []

    def instead(config, overrides):
        given.append((config, overrides))
        return Outcome(RunState.done)

    monkeypatch.setattr(run, "run_experiment", instead)
    assert command().code == 0
    assert given == [(from_overrides([]), [])]


@pytest.mark.parametrize("words", [["table", "--seed=3", "x"], ["sample", "x", "--seed"]])
def test_J3_an_option_of_a_verb_is_not_taken_for_an_override(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gptexp", *words])
    with pytest.raises(SystemExit):
        main()
    assert "dashes" not in only(capsys.readouterr().err.splitlines())
