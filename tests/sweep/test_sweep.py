"""Sweeps: points looked at first, what is over skipped, the rest trained, the table (group G)."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from interruptions import before, die, forked, kill_before_step, killed_after
from small_runs import ROOT, SMALL, metrics, only
from sweep_runs import grid, run_py, states, table

from gptexp.config import Config, compose, config_hash, problems
from gptexp.errors import ConfigError, GptexpError
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import NOT_STARTED, Outcome, RunState
from gptexp.sweep import run as sweep_run
from gptexp.sweep.run import SweepPoint, exit_code, run_sweep
from gptexp.training.trainer import Trainer

NO_DATA = "0" * 64
SHIPPED = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))


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
def runs(command, text_file):
    """`runs("seed=0,1")`: the result of a sweep of SMALL runs."""
    return lambda *arguments: command(*grid(text_file, *arguments))


@pytest.fixture
def trained(monkeypatch):
    """The runs that were trained, in order."""
    names: list[str] = []
    before(Trainer, "fit", lambda self, _: names.append(folder(self).name), monkeypatch)
    return names


def folder(trainer):
    return trainer.parts.store.folder.parent


# What is shipped


@pytest.mark.parametrize("name", SHIPPED)
def test_every_point_of_a_shipped_sweep_is_legal_and_a_run_of_its_own(points, name):
    found = points(f"sweeps={name}")
    assert len(found) > 1
    for point in found:
        assert isinstance(point.config, Config)
        assert problems(point.config) == []
        assert point.config.name == name
    assert len({config_hash(point.config, NO_DATA) for point in found}) == len(found)
    second = (ROOT / "sweeps" / f"{name}.yaml").read_text().splitlines()[1]
    expected = (
        rf"# `python run\.py sweeps={name}`: {len(found)} points, about (a minute|\d+ minutes) .*"
    )
    assert re.fullmatch(expected, second)


def test_sweeps_is_a_group_of_conf_by_a_link():
    assert (ROOT / "conf" / "sweeps").is_symlink()
    assert (ROOT / "conf" / "sweeps").readlink().as_posix() == "../sweeps"


def test_help_lists_the_sweeps(command):
    assert f"sweeps: {', '.join(SHIPPED)}" in command("--help").out


def test_the_command_line_narrows_a_shipped_sweep(points):
    whole = points("sweeps=layers_heads")
    part = points("sweeps=layers_heads", "model.n_layer=2", "optim.lr=0.5", "name=mine")
    depths = sorted({point.config.model.n_layer for point in whole})
    assert len(depths) > 1
    assert {point.config.model.n_layer for point in part} == {2}
    assert len(part) == len(whole) / len(depths)
    assert {(point.config.optim.lr, point.config.name) for point in part} == {(0.5, "mine")}


def test_a_shipped_sweep_runs(command, text_file):
    small = [item for item in SMALL if not item.startswith(("model.n_layer", "model.n_head"))]
    result = command(
        "sweeps=layers_heads", *small, f"data.path={text_file}", "model.n_head=2", "model.n_layer=1"
    )
    assert result.code == 0
    assert states(result.out) == ["done"]


# The configs of the points


def test_the_points_are_what_hydra_would_compose(points):
    given = ["model=tiny,laptop", "optim=sgd,adamw", "optim.lr=1e-3,0.5", "seed=1,2"]
    given += ["logger.tags=[a,b]", "trainer.sample_top_k=null,3"]
    found = points("-m", *given)
    assert len(found) == 32
    GlobalHydra.instance().clear()
    for point in found[::7]:
        assert point.config == compose.from_overrides(point.overrides)


def test_hydra_composes_once_for_each_combination_of_choices(points, monkeypatch):
    composed = []
    before(ConfigLoaderImpl, "load_sweep_config", lambda *_: composed.append(1), monkeypatch)
    assert len(points("-m", "model=tiny,laptop", "seed=range(0,40)")) == 80
    assert len(composed) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["optim=adamw,sgd", "optim.beta1=0.9"], "optim.beta1: no such key"),
        (["model.n_layer=1,x"], "model.n_layer: "),
        (["model=tiny,meduim"], "model=meduim: "),
        (["trainer.on_overfit=stop,panic"], "trainer.on_overfit: "),
        (["seed=1,2", "+model.n_embdd=3"], "model.n_embdd: no such key"),
    ],
)
def test_a_wrong_key_type_or_choice_of_one_point_refuses_the_whole_sweep(refused, arguments, named):
    assert only(refused("-m", *arguments)).startswith(named)


# Bad points


def test_G1_bad_relations_are_listed_before_the_first_job_and_the_others_run(runs, trained):
    result = runs("model.n_head=1,3,2,5", "model.dropout=0.1,0.2")
    assert result.code == 1
    assert states(result.out) == [*["done"] * 2, *["refused"] * 2] * 2
    assert len(trained) == 4
    errors = [line for line in result.errors if line.startswith("model.n_embd: 16 is not a ")]
    assert len(result.errors) == len(errors) == 2, "each distinct problem once"
    assert result.out.index("refused       model.n_head=5") < result.out.index("point   1 of 8")
    bad = [row for row in table(result.out) if row.startswith("refused")]
    assert all("model.n_embd: 16 is not a multiple of model.n_head=" in row for row in bad)


def test_a_value_that_is_missing_in_one_point_is_a_bad_point(runs, text_file):
    result = runs("data.path=???," + str(text_file), "seed=1")
    assert (result.code, states(result.out)) == (1, ["refused", "done"])


@pytest.mark.slow
def test_checking_200_bad_points_takes_no_torch(tmp_path):
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: print('code', end.code, 'torch' in sys.modules)"
    )
    command = [str(ROOT / "run.py"), "-m", "optim.lr=-1", "seed=range(0,200)"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "code 1 False", done.stderr
    assert states(done.stdout)[:-1] == ["refused"] * 200
    assert not (tmp_path / "outputs").exists()


def test_G1_a_point_that_fails_in_training_leaves_the_others_running(runs, monkeypatch):
    def fail(trainer):
        if trainer.seed == 1:
            raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", fail, patch)
        result = runs("seed=0,1,2")
    assert result.code == 1
    assert states(result.out) == ["done", "failed", "done"]
    row = table(result.out)[1]
    assert "a bug in gptexp, ZeroDivisionError: oops" in row
    log = RunDirectory(only_path("*-s1-*")).log.read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: oops" in log
    again = runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["already done", "done", "already done"])


def test_a_diverged_point_is_kept_and_listed_unless_it_is_to_be_retried(runs, trained):
    given = ["optim.lr=1e-3,1e30", "schedule.warmup_steps=0", "trainer.grad_clip=0"]
    first, second = runs(*given), runs(*given)
    assert (first.code, second.code) == (1, 1)
    assert states(first.out) == ["done", "diverged"]
    assert states(second.out) == ["already done", "diverged"]
    assert "diverged before" in table(second.out)[1]
    assert len(trained) == 2
    assert runs(*given, "trainer.retry_failed=true").code == 1
    assert len(trained) == 3


def only_path(pattern):
    from pathlib import Path

    [path] = Path("outputs").glob(f"*/{pattern}")
    return path


# What is over


def test_a_finished_sweep_again_shows_a_line_a_point_and_starts_no_job(runs, trained):
    first = runs("seed=0,1")
    second = runs("seed=0,1")
    assert (first.code, second.code) == (0, 0)
    assert len(trained) == 2
    assert states(second.out) == ["already done"] * 2
    assert second.out.count("already done  outputs/default/") == 2
    assert "sample" not in second.out
    assert len(second.out.splitlines()) <= 7
    rows = zip(table(first.out), table(second.out), strict=True)
    assert all(a[12:] == b[12:] for a, b in rows)


def test_G4_a_grid_extended_or_reordered_keeps_its_finished_points(runs, trained):
    runs("seed=0,1")
    first = list(trained)
    more = runs("seed=2,1,0", "optim.lr=1e-3,1e-2")
    assert states(more.out) == ["done", "done", "already done", "done", "already done", "done"]
    assert len(trained) == 6
    assert len(set(trained)) == 6
    assert trained[:2] == first


@pytest.mark.slow
def test_G5_a_point_in_use_is_reported_and_the_same_command_finishes_it(runs, trained):
    runs("seed=1")
    path = only_path("*-s1-*")
    shutil.rmtree(path)
    with RunDirectory(path).locked():
        RunDirectory(path).set_status(RunState.running)
        result = runs("seed=0,1,2")
    assert result.code == 6
    assert states(result.out) == ["done", "in use", "done"]
    assert f"{path}: in use by process " in result.err
    again = runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["already done", "done", "already done"])


@pytest.mark.slow
def test_G5_two_sweeps_at_once_do_each_point_once(tmp_path, text_file, quick):
    counted = tmp_path / "counted"

    def count(trainer, _):
        with counted.open("a") as file:
            file.write(f"{folder(trainer).name}\n")

    def child(shown):
        with pytest.MonkeyPatch.context() as patch:
            before(Trainer, "fit", count, patch)
            return run_py(grid(text_file, "seed=0,1,2,3"), tmp_path, tmp_path / shown)

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


def test_G6_code_that_changed_is_named_in_the_table(runs):
    runs("seed=0,1")
    path = only_path("*-s1-*")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sources"]["model.py"] = "another"
    (path / "manifest.json").write_text(json.dumps(manifest))
    again = runs("seed=0,1")
    assert again.code == 0
    assert [row.endswith(", by other code: model.py changed") for row in table(again.out)] == [
        False,
        True,
    ]


def test_G6_a_text_that_changed_makes_new_points_and_is_named(runs, trained, text_file):
    runs("seed=0,1")
    text_file.write_text(text_file.read_text() + "more\n")
    again = runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["done"] * 3)
    assert len(set(trained)) == 5
    assert again.err.count("has changed since") == 2


# Interrupted and killed


def test_G8_ctrl_c_saves_the_current_point_and_starts_no_new_one(runs, trained, monkeypatch):
    def press(trainer):
        if trainer.seed == 1 and trainer.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        before(Trainer, "train_step", press, patch)
        result = runs("seed=0,1,2")
    assert result.code == 130
    assert states(result.out) == ["done", "interrupted", "not started"]
    assert (only_path("*-s1-*") / "checkpoints" / "step-7.pt").exists()
    again = runs("seed=0,1,2")
    assert (again.code, states(again.out)) == (0, ["already done", "done", "done"])
    assert "resume  at step 7 of 12" in again.out
    assert len(trained) == 4


def test_G8_ctrl_c_between_two_points_ends_the_sweep_with_its_table(runs, monkeypatch):
    def press(config, *_):
        if config.seed == 1:
            raise KeyboardInterrupt

    from gptexp.experiment import run as experiment_run

    before(experiment_run, "run_experiment", press, monkeypatch)
    result = runs("seed=0,1,2")
    assert result.code == 130
    assert states(result.out) == ["done", "not started", "not started"]


@pytest.mark.slow
def test_G3_a_sweep_killed_anywhere_and_issued_again_ends_like_one_that_was_not(
    tmp_path, text_file, quick
):
    """Killed at steps, saves and summaries that no two of its points share."""
    sweep_of = grid(text_file, "seed=0,1,2", "model.n_head=1,3")
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    shown = tmp_path / "shown"
    assert forked(lambda: run_py(sweep_of, tmp_path / "straight", shown)) == 1

    def at(owner, name, seed, wanted):
        def kill(*arguments):
            trainer = arguments[0]
            if trainer.seed == seed and trainer.step == wanted:
                die()

        return lambda: before(owner, name, kill)

    deaths = [
        at(Trainer, "train_step", 0, 0),
        at(Trainer, "train_step", 0, 6),
        at(Trainer, "save", 0, 12),
        at(Trainer, "evaluate_if_due", 1, 8),
        at(Trainer, "state_dict", 2, 4),
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
    assert {row[:12].strip() for row in rows[3]} == {"already done", "refused"}
    for run in (tmp_path / "straight" / "outputs" / "default").iterdir():
        other = tmp_path / "killed" / "outputs" / "default" / run.name
        assert metrics(run) == metrics(other)


@pytest.mark.slow
def test_G3_a_sweep_killed_at_random_moments_and_issued_until_done_ends_the_same(
    tmp_path, text_file, quick
):
    sweep_of = grid(text_file, "seed=0,1,2", "trainer.max_steps=60", "trainer.eval_interval=6")
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
    assert [row.replace("already done", "done        ") for row in rows] == straight
    for run in (tmp_path / "straight" / "outputs" / "default").iterdir():
        assert metrics(run) == metrics(tmp_path / "killed" / "outputs" / "default" / run.name)


# How a launcher's answers become the table and the exit code


def point(overrides="seed=1", outcome=NOT_STARTED, config=None):
    return SweepPoint([overrides], config or ConfigError("seed: x. Fix: y"), outcome)


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


def test_what_a_launcher_loses_is_read_from_disk(small, tmp_path, monkeypatch, quick):
    """As when a worker is killed: one point done, one killed in training, one not started."""
    from gptexp.experiment.run import OUTPUTS, run_experiment

    monkeypatch.chdir(tmp_path)
    found = [SweepPoint([f"seed={n}"], small(f"seed={n}")) for n in range(3)]

    def launch(jobs, first):
        assert (len(jobs), first) == (3, 0)
        run_experiment(found[0].config)
        kill_before_step(found[1].config, OUTPUTS, 5)
        raise GptexpError("hydra/launcher: a worker died. Fix: the same command goes on")

    assert run_sweep(found, launch, at_once=3) == 1
    assert [point.outcome.state for point in found] == ["done", "killed", "not started"]
    again = [SweepPoint(point.overrides, point.config) for point in found]

    def works(jobs, _):
        assert [point.overrides for point in jobs] == [["seed=1"], ["seed=2"]]
        return [run_experiment(point.config) for point in again[1:]]

    assert run_sweep(again, works, at_once=3) == 0
    assert [point.outcome.state for point in again] == ["already done", "done", "done"]


@pytest.mark.parametrize("rerun", [False, True])
def test_what_an_earlier_command_left_is_not_the_outcome_of_a_point_never_started(
    small, tmp_path, monkeypatch, quick, rerun
):
    from gptexp.experiment.run import run_experiment

    monkeypatch.chdir(tmp_path)
    found = [SweepPoint([f"seed={n}"], small(f"seed={n}")) for n in range(4)]
    for point, state in zip(found, ("interrupted", "failed", "running", "done"), strict=True):
        directory = run_experiment(point.config).directory
        RunDirectory(directory).set_status(state, "earlier")
        if state != "done":
            (directory / "summary.json").unlink()
        point.config.rerun = rerun

    def gives_up(*_):
        raise GptexpError("hydra/launcher: no workers. Fix: the same command goes on")

    assert run_sweep(found, gives_up, at_once=4) == 1
    last = "not started" if rerun else "already done"
    assert [point.outcome.state for point in found] == [*["not started"] * 3, last]


def test_a_search_sweeper_gets_the_best_validation_loss(runs, monkeypatch):
    classes = Plugins.instance().class_name_to_class  # Hydra imports its plugins a second time
    basic = classes["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
    returned = []
    sweep_of_hydra = basic.sweep

    def kept(self, arguments):
        returned.extend(sweep_of_hydra(self, arguments))

    monkeypatch.setattr(basic, "sweep", kept)
    result = runs("seed=0,1", "hydra/sweeper=basic")
    assert result.code == 0
    losses = [job.return_value for job in returned[0]]
    best = [json.loads((only_path(f"*-s{n}-*") / "summary.json").read_text()) for n in (0, 1)]
    assert losses == [summary["best"]["val_loss"] for summary in best]
