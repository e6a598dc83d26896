"""Searches by Optuna: trials that are runs, a study that goes on, failures and pruning survived."""

import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from interruptions import Stopped, before, die, forked
from small_runs import Result, last_step, metrics, only, status
from sweep_runs import rows, run_py, small_grid, states, table

from gptexp.analysis.records import collect
from gptexp.config import search as config_search
from gptexp.errors import Problem, StorageError
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import Outcome, RunState
from gptexp.sweep.points import SweepPoint
from gptexp.sweep.search import Search
from gptexp.training.trainer import Trainer

pytest.importorskip("optuna")

JOURNAL = Path("outputs/default/optuna.journal")
SEARCH = ["hydra/sweeper=optuna", "optim.lr=tag(log,interval(1e-4,1e-1))", "model.n_head=1,2"]
TRIALS = "hydra.sweeper.n_trials"
MEDIAN = ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1"]


@pytest.fixture
def search(command, text_file):
    """`search(3, "seed=1")`: the result of a search of so many trials of SMALL runs."""

    def call(trials: int, *arguments: str) -> Result:
        given = {word.partition("=")[0] for word in arguments}
        words = [word for word in SEARCH if word.partition("=")[0] not in given]
        return command(*small_grid(text_file, *words, *arguments, f"{TRIALS}={trials}"))

    return call


def labels(shown: str) -> list[str]:
    """The points of a table, in the order of their trials."""
    return [re.split("  +", row.rest)[0] for row in table(shown)]


def path_of(shown: str, number: int) -> Path:
    """The run directory of a trial."""
    rest = table(shown)[number - 1].rest
    return Path("outputs/default", re.search(r"\S+-s0-[0-9a-f]{8}", rest)[0])


@pytest.mark.slow
def test_each_trial_is_a_run_and_the_best_is_what_its_overrides_train_alone(
    search, command, text_file, trained
):
    result = search(4)
    assert (result.code, result.err) == (0, "")
    assert states(result.out) == ["done"] * 4
    assert {path.name for path in JOURNAL.parent.glob("[!.]*")} == {*trained, JOURNAL.name}
    ends = r"\n([1-4])/4  (.+?) +done, best (\S+); ([1-4]) of 4 trials over"
    lines = re.findall(ends, result.out)
    assert [(line[0], line[3]) for line in lines] == [(n, n) for n in "1234"]
    lowest = min(lines, key=lambda line: float(line[2]))
    assert f"lowest {lowest[2]} in trial {lowest[0]}\n" in result.out
    found = re.search(r"\nbest trial (\d): (.+)\n", result.out)
    assert found[1] == lowest[0]
    alone = [word for word in small_grid(text_file, *found[2].split()) if word != "-m"]
    assert command(*alone).out.startswith("already done")
    assert len(trained) == 4


@pytest.mark.slow
def test_the_same_command_trains_nothing_again_and_more_trials_go_on(search, trained):
    first = search(3)
    again = search(3)
    assert (again.code, states(again.out)) == (0, ["already done"] * 3)
    assert "over before   3 of 3 trials\n" in again.out
    assert labels(again.out) == labels(first.out)
    more = search(4)
    assert states(more.out) == ["already done"] * 3 + ["done"]
    assert len(trained) == 4
    at_once = search(4, "hydra.sweeper.study_name=other")
    assert labels(at_once.out) == labels(more.out), "whatever was interrupted"
    assert labels(search(4, "hydra.sweeper.study_name=x", "hydra.sweeper.sampler.seed=1").out) != (
        labels(more.out)
    )


@pytest.mark.slow
def test_a_trial_that_was_interrupted_goes_on_first_with_its_values(search, trained, monkeypatch):
    def interrupt(trainer):
        if len(trained) == 2 and trainer.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", interrupt, patch)
        result = search(3)
    assert (result.code, states(result.out)) == (130, ["done", "interrupted"])
    assert result.err.endswith("interrupted: 1 of 3 points done; the same command goes on\n")
    again = search(3)
    assert (again.code, states(again.out)) == (0, ["already done", "done", "done"])
    assert labels(again.out)[:2] == labels(result.out)
    assert "2/3  " + labels(result.out)[1] + "  goes on at step 7" in again.out
    assert trained[1] == trained[2] != trained[3]


@pytest.mark.slow
def test_a_trial_that_ended_before_its_values_were_drawn_draws_them(search, monkeypatch):
    from gptexp.sweep.study import Study

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        before(Study, "draw", stop, patch)
        search(2)
    assert states(search(2).out) == ["done", "done"]


@pytest.mark.slow
def test_trials_that_diverge_or_are_refused_count_and_are_survived(search, trained):
    words = ["model.n_head=2,3", "optim.lr=1e-2,1e30", "trainer.grad_clip=0", "optim=sgd"]
    result = search(6, *words)
    assert result.code == 0
    assert {*states(result.out)} == {"done", "diverged", "refused"}
    assert len(states(result.out)) == 6
    again = search(6, *words)
    assert (again.code, again.err) == (0, "")
    assert [s.removeprefix("already ") for s in states(again.out)] == states(result.out)
    whys = [[row.rest for row in table(out) if not row.best] for out in (result.out, again.out)]
    assert whys[0] == whys[1]


@pytest.mark.slow
def test_where_every_trial_diverged_there_is_the_table_and_exit_code_1(search, trained):
    words = ["optim=sgd", "optim.lr=interval(1e30,1e31)", "trainer.grad_clip=0"]
    for _ in range(2):
        result = search(3, *words)
        assert (result.code, states(result.out)) == (1, ["diverged"] * 3)
        assert "best trial" not in result.out
    assert len(trained) == 3


@pytest.mark.slow
def test_a_pruned_trial_is_no_result_and_is_over_but_its_own_command_goes_on(
    search, command, text_file, trained, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("optuna.trial.Trial.should_prune", lambda self: self.number == 1)
        result = search(2, *MEDIAN)
    assert (result.code, states(result.out)) == (0, ["done", "pruned"])
    assert " pruned, at step 4 of 12; 2 of 2 trials over" in result.out
    assert table(result.out)[1].best == ""
    run = path_of(result.out, 2)
    assert status(run)["state"] == "pruned"
    assert last_step(run) == 4
    assert collect([run])[0][0].state == "pruned"
    assert states(search(2, *MEDIAN).out) == ["already done", "pruned"]
    assert len(trained) == 2
    words = json.loads((run / "manifest.json").read_text())["overrides"]
    own = command(*words)
    assert "resume  at step 4 of 12" in own.out
    assert (own.code, status(run)["state"]) == (0, "done")


@pytest.mark.slow
def test_the_median_pruner_is_told_of_every_evaluation_but_the_first_and_the_last(
    search, monkeypatch
):
    asked = []
    real = "optuna.pruners.MedianPruner.prune"
    monkeypatch.setattr(real, lambda self, study, trial: asked.append(trial.last_step) or False)
    search(2, *MEDIAN)
    assert asked == [4, 8] * 2
    lines = [json.loads(line) for line in JOURNAL.read_text().splitlines()]
    reported = [(x["trial_id"], x["step"]) for x in lines if "intermediate_value" in x]
    assert reported == [(trial, step) for trial in (0, 1) for step in (4, 8, 12)]


@pytest.mark.slow
def test_a_trial_that_another_process_trains_is_left_to_it(search, monkeypatch):
    def stop(trainer):
        if trainer.step == 6:
            raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        before(Trainer, "train_step", stop, patch)
        search(2)
    [run] = JOURNAL.parent.glob("[!.]*-*")
    with RunDirectory(run).locked():
        result = search(2)
    assert (result.code, states(result.out)) == (6, ["in use", "done"])
    assert states(search(2).out) == ["done", "already done"]


def test_trials_of_one_batch_that_drew_the_same_values_are_trained_once(small):
    told, launched = {}, []

    def tell(point, outcome):
        point.outcome = told[point.trial] = outcome

    def launch(jobs, first):
        launched.extend(point.trial for point in jobs)
        return [Outcome(RunState.done, point.outcome.path, point.trial) for point in jobs]

    paths = [Path("a"), Path("b"), Path("a")]
    waiting = [Outcome(RunState.not_started, path) for path in paths]
    jobs = [SweepPoint([], small(), outcome, trial=n) for n, outcome in enumerate(waiting)]
    Search.have_trained(SimpleNamespace(tell=tell, trained=0), jobs, launch)
    assert launched == [0, 1]
    assert [told[n].best_val_loss for n in range(3)] == [0, 1, 0]


@pytest.mark.slow
def test_a_full_disk_ends_the_search_and_leaves_its_trial_open(search, monkeypatch):
    def refuse(trainer):
        raise StorageError(Problem("disk", "full", "free some space"))

    with monkeypatch.context() as patch:
        before(Trainer, "save", refuse, patch)
        result = search(3)
    assert (result.code, states(result.out)) == (1, ["failed"])
    assert states(search(3).out) == ["done"] * 3


@pytest.mark.slow
def test_a_study_of_another_config_or_other_choices_is_refused(search, trained):
    search(1)
    other = search(2, "trainer.max_steps=16", "trainer.keep=all")
    assert other.code == 2
    assert [re.split(r"[.:] ", line)[0] for line in other.errors] == [
        str(JOURNAL),
        "trainer.max_steps",
    ]
    assert ": study 12, command 16. Fix: another name=" in other.errors[1]
    line = only(search(2, "model.n_head=1,2,4").errors)
    assert line.startswith("model.n_head: the study default has other choices")
    line = only(search(2, "trainer.grad_clip=0.5,1").errors)
    assert line.startswith("trainer.grad_clip: the study default does not search over it")
    assert len(trained) == 1
    assert search(2, "optim.lr=tag(log,interval(1e-3,1e-1))", "logger=none").code == 0


@pytest.mark.slow
def test_a_study_of_before_a_key_was_there_goes_on(search, trained):
    """What its identity lacks has the default, as in the hash of a run."""
    search(1)
    lines = JOURNAL.read_text().splitlines()
    [number] = [i for i, line in enumerate(lines) if '"model.window"' in line]
    lines[number] = re.sub(r'"model\.window":"[^"]*",', "", lines[number])
    assert '"model.window"' not in lines[number]
    JOURNAL.write_text("\n".join([*lines, ""]))
    assert search(2).code == 0
    assert len(trained) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["no JSON at all", "[1]\n", '{"a": 1}\n', '{"op_code": 4}\n{"op_code": 0}\n', "\0\n"]
)
def test_a_study_that_is_damaged_is_one_line(search, text):
    JOURNAL.parent.mkdir(parents=True)
    JOURNAL.write_text(text)
    result = search(1)
    assert result.code == 2
    line = only(result.errors)
    assert line.startswith(f"{JOURNAL}: cannot be read as a study of Optuna's: ")
    assert JOURNAL.read_text() == text
    JOURNAL.rename("elsewhere")
    assert states(search(1).out) == ["done"]
    JOURNAL.write_text(text)
    assert len(collect([JOURNAL.parent])[0]) == 1, "a table looks at runs alone"


@pytest.mark.slow
def test_the_end_of_a_line_that_was_cut_short_is_taken_out(search):
    search(1)
    whole = JOURNAL.read_text()
    JOURNAL.write_text(whole + '{"op_code":4,"work')
    assert states(search(2).out) == ["already done", "done"]
    assert JOURNAL.read_text().startswith(whole)
    assert all(map(json.loads, JOURNAL.read_text().splitlines()))


@pytest.mark.slow
def test_a_run_that_is_gone_is_said_to_be(search, trained):
    import shutil

    shutil.rmtree(path_of(search(1).out, 1))
    assert "its run is gone" in only(table(search(1).out)).rest
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (f"{TRIALS}=0", f"{TRIALS}: 0 is no whole number above 0. Fix: {TRIALS}=20"),
        ("hydra.sweeper.n_jobs=x", "hydra.sweeper.n_jobs: x is no whole number"),
        ("hydra.sweeper.direction=maximize", "a validation loss is to be small"),
        ("~hydra.sweeper.direction", "hydra.sweeper.direction: cannot be left out. Fix: leave"),
        ("hydra.sweeper.sampler=random", "Fix: choose one as in hydra/sweeper/sampler=random"),
        ("hydra.sweeper.pruner=median", "Fix: choose one as in hydra/sweeper/pruner=median"),
        ("hydra/sweeper/pruner=mean", "hydra/sweeper/pruner=mean: not among the choices median, n"),
        ("hydra.sweeper.sampler.seed=x", "hydra.sweeper.sampler.seed: x is no whole number"),
        ("+hydra.sweeper.sampler.x=1", "unexpected keyword argument 'x'"),
        ("hydra.sweeper.study_name=7", "hydra.sweeper.study_name: 7 is no text"),
        ("optim.lrr=interval(0,1)", "optim.lrr: no such key. Fix: did you mean optim.lr?"),
        ("model.n_layer=1,abc", "model.n_layer: Value 'abc'"),
        ("trainer.batch_size=0", "trainer.batch_size: 0 is below 1"),
        ("data.path=nowhere", "data.path: nowhere is not there"),
    ],
)
def test_what_no_trial_can_do_is_one_line_before_there_is_a_study(refused, text_file, word, line):
    assert line in only(refused(*small_grid(text_file, *SEARCH, word)))


@pytest.mark.parametrize("most", ["-1", "x", "1.5"])
def test_a_launch_of_no_number_of_points_is_refused(refused, text_file, most):
    word = f"hydra.sweeper.max_batch_size={most}"
    line = only(refused(*small_grid(text_file, "seed=1,2", word)))
    assert line.startswith(f"hydra.sweeper.max_batch_size: {most} is no number of points")


def test_a_plan_cannot_tell_the_points_of_a_search(monkeypatch, capsys):
    from gptexp.cli.app import main

    monkeypatch.setattr("sys.argv", ["gptexp", "plan", *SEARCH])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "hydra/sweeper=optuna: a search, which chooses" in only(
        capsys.readouterr().err.splitlines()
    )


def test_without_optuna_it_is_said_what_to_install(refused, text_file, monkeypatch):
    monkeypatch.setattr(config_search, "find_spec", lambda name: None)
    line = only(refused(*small_grid(text_file, *SEARCH)))
    assert line == "hydra/sweeper=optuna: not installed. Fix: pip install -e '.[search]'"


@pytest.mark.slow
def test_G3_a_search_killed_anywhere_and_issued_again_ends_like_one_that_was_not(
    tmp_path, text_file
):
    words = small_grid(text_file, *SEARCH, *MEDIAN, f"{TRIALS}=5")
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    shown = tmp_path / "shown"
    assert forked(lambda: run_py(words, tmp_path / "straight", shown)) == 0
    straight = shown.read_text()

    def child(owner, name, count):
        from gptexp.sweep.study import Study

        calls = []
        before({"Study": Study}.get(owner, Trainer), name, lambda *_: calls.append(1))
        before({"Study": Study}.get(owner, Trainer), name, lambda *_: len(calls) == count and die())
        return run_py(words, tmp_path / "killed", tmp_path / "partial")

    deaths = [
        ("Study", "draw", 0),
        ("Trainer", "train_step", 6),
        ("Study", "tell", 0),
        ("Trainer", "save", 5),
        ("Study", "tell", 1),
    ]
    for death in deaths:
        assert forked(lambda death=death: child(*death)) == -signal.SIGKILL
    assert forked(lambda: run_py(words, tmp_path / "killed", shown)) == 0
    killed = rows(shown.read_text().replace("already done", "done"))
    assert killed == rows(straight)
    for run in (tmp_path / "straight/outputs/default").glob("[!.]*-*"):
        assert metrics(run) == metrics(tmp_path / "killed/outputs/default" / run.name)
