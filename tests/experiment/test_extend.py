"""A shorter run under a constant learning rate is the beginning of a longer one, bit for bit."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from interruptions import after, before, die, forked, stop_before_step, uninterrupted
from interruptions import left as left_by
from judged_runs import Judge, contents

from gptexp.config import Config
from gptexp.experiment import beginning, extend
from gptexp.experiment.identity import identify
from gptexp.experiment.reuse import resealed
from gptexp.experiment.run import run_experiment
from gptexp.runs import provenance
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import read_entry
from gptexp.runs.seal import is_broken
from gptexp.training.trainer import Trainer

LONG = 24


@pytest.fixture
def constant(small: Callable[..., Config]) -> Callable[..., Config]:
    """`constant(12, "seed=1")`: a small run of so many steps under a constant learning rate."""

    def build(steps: int, *overrides: str) -> Config:
        return small("schedule=constant", *overrides, f"trainer.max_steps={steps}")

    return build


@pytest.fixture
def short_run(constant, once, began, tmp_path: Path) -> Callable[..., Path]:
    """`short_run(12)`: the directory of such a run that is done, which `began` does not count."""

    def made(steps: int, *overrides: str, outputs: Path = tmp_path) -> Path:
        path = once(constant(steps, *overrides), outputs)
        began.clear()
        return path

    return made


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The step at which each training begins."""
    steps: list[int] = []
    after(Trainer, "begin", lambda self, *_: steps.append(self.step), monkeypatch)
    return steps


def beginnings(config: Config, outputs: Path, steps: int) -> list[tuple[Path, int]]:
    return list(extend.beginnings(config, identify(config, outputs), steps))


def without_fields(left: tuple) -> tuple:
    """What a run left, but for names of checkpoints: other steps were saved on the way."""
    return left[:3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "overrides"),
    [
        (12, []),  # on all intervals
        (10, []),  # an evaluation, a log line and a sample for the end alone
        (8, []),  # a log line that cuts a window of the mean
        (9, []),  # an evaluation for the end alone
        (7, ["trainer.checkpoint_interval=3", "trainer.sample_interval=0"]),
        (10, ["trainer.keep=all"]),
        (10, ["optim.ema=0.6"]),
        (10, ["trainer.diagnostics_interval=5"]),
        (10, ["trainer.eval_tokens=40"]),
        (10, ["trainer.patience=2", "trainer.min_delta=1.0", "trainer.eval_interval=6"]),
        (10, ["optim=sgd", "optim.lr=3.0", "trainer.grad_clip=1", "trainer.on_overfit=observe"]),
        (1, ["schedule.warmup_steps=0"]),
    ],
)
def test_an_extended_run_equals_the_longer_one_trained_at_once(
    constant, tmp_path: Path, began, caplog, judge: Judge, steps: int, overrides: list[str]
) -> None:
    caplog.set_level("INFO", "gptexp")
    straight = uninterrupted(constant(LONG, *overrides), tmp_path / "straight")
    outputs = tmp_path / "outputs"
    short = run_experiment(constant(steps, *overrides), outputs).path
    stays = contents(short)
    began.clear()
    extended = run_experiment(constant(LONG, *overrides), outputs).path
    assert began == [steps]
    assert f"extends {short} from step {steps}" in caplog.text
    assert left_by(extended)[:3] == straight[:3]
    assert {p: v for p, v in contents(short).items() if p.name != ".lock"} == {
        p: v for p, v in stays.items() if p.name != ".lock"
    }
    manifest = json.loads((extended / "manifest.json").read_text())
    assert manifest["extended"] == {"run": str(short), "step": steps}
    assert not is_broken(manifest)
    code, lines = judge(extended)
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


def test_what_it_keeps_is_what_the_longer_run_keeps(constant, short_run, tmp_path: Path) -> None:
    straight = uninterrupted(constant(LONG), tmp_path / "straight")
    outputs = tmp_path / "outputs"
    short_run(10, outputs=outputs)
    assert left_by(run_experiment(constant(LONG), outputs).path) == straight


@pytest.mark.slow
def test_made_again_in_full_it_is_identical(
    constant, short_run, tmp_path: Path, judge: Judge
) -> None:
    short_run(10)
    code, lines = judge(run_experiment(constant(LONG), tmp_path).path, "full")
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


@pytest.mark.slow
def test_a_run_is_extended_again_and_again_from_the_farthest(constant, tmp_path, began) -> None:
    straight = uninterrupted(constant(LONG), tmp_path / "straight")
    began.clear()
    for steps in (7, 10, 15):
        run_experiment(constant(steps), tmp_path)
    last = run_experiment(constant(LONG, "name=other"), tmp_path)
    assert began == [0, 7, 10, 15]
    assert without_fields(left_by(last.path))[1:] == straight[1:3]


def test_an_interrupted_run_is_extended_from_its_last_checkpoint(constant, tmp_path, began) -> None:
    straight = uninterrupted(constant(LONG), tmp_path / "straight")
    stop_before_step(constant(15), tmp_path, 10)
    began.clear()
    extended = run_experiment(constant(LONG), tmp_path).path
    assert began == [8]
    assert left_by(extended) == straight


def test_a_run_that_patience_stopped_is_not_extended(constant, tmp_path, began, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    impatient = ["trainer.patience=2", "trainer.min_delta=1.0"]
    short = run_experiment(constant(20, *impatient), tmp_path).path
    assert run_experiment(constant(LONG, *impatient), tmp_path).state == "done"
    assert began == [0, 0]
    assert (
        f"{short} is not extended: patience stopped it at step 8, where this run would stop "
        "too" in caplog.text
    )


def test_a_run_that_diverged_is_not_extended(constant, short_run, tmp_path, began, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    short = short_run(12)
    (short / "summary.json").unlink()
    RunDirectory(short).set_status("diverged", "step 13: not finite")
    run_experiment(constant(LONG), tmp_path)
    assert began == [0]
    assert "is not extended: it diverged" in caplog.text


def test_a_run_of_other_code_is_not_extended(
    constant, short_run, tmp_path, began, monkeypatch, caplog
):
    caplog.set_level("INFO", "gptexp")
    short_run(12)
    sources = {**provenance.sources(), "models/gpt.py": "0" * 64}
    monkeypatch.setattr(provenance, "sources", lambda: sources)
    run_experiment(constant(LONG), tmp_path)
    assert began == [0]
    assert "is not extended: made by other code: models/gpt.py" in caplog.text


@pytest.mark.parametrize(
    "override", ["schedule=cosine", "schedule=linear", "optim.lr=2e-3", "seed=1", "rerun=true"]
)
def test_what_is_no_longer_run_of_the_same_config_is_trained_anew(
    constant, short_run, tmp_path, began, override
) -> None:
    short_run(12)
    run_experiment(constant(LONG, override), tmp_path)
    assert began == [0]


def test_another_text_is_another_run(constant, short_run, tmp_path, text_file: Path, began) -> None:
    short_run(12)
    text_file.write_text(text_file.read_text()[:-1] + "b")
    run_experiment(constant(LONG), tmp_path)
    assert began == [0]


@pytest.mark.parametrize("override", ["trainer.log_interval=2", "trainer.sample_tokens=9"])
def test_what_was_logged_in_another_way_is_trained_anew(
    constant, short_run, tmp_path, began, caplog, override
) -> None:
    caplog.set_level("INFO", "gptexp")
    short_run(12)
    run_experiment(constant(LONG, override), tmp_path)
    assert began == [0]
    assert f"is not extended: it has {override.partition('=')[0]}=" in caplog.text


def test_a_journal_that_lacks_a_line_which_is_due_is_not_gone_on_with(
    constant, tmp_path, began, caplog
) -> None:
    """As of a run whose first process logged less often."""
    caplog.set_level("INFO", "gptexp")
    stop_before_step(constant(12, "trainer.log_interval=4"), tmp_path, 6)
    run_experiment(constant(12), tmp_path)
    began.clear()
    run_experiment(constant(LONG), tmp_path)
    assert began == [0]
    assert "its journals are not those of trainer.log_interval=3" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(0, 2), (2, 0), (3, 2)])
def test_nor_with_one_that_was_looked_into_at_other_updates(
    constant, tmp_path, began, caplog, first, then
) -> None:
    caplog.set_level("INFO", "gptexp")
    key = "trainer.diagnostics_interval"
    stop_before_step(constant(12, f"{key}={first}"), tmp_path, 6)
    run_experiment(constant(12, f"{key}={then}"), tmp_path)
    began.clear()
    run_experiment(constant(LONG, f"{key}={then}"), tmp_path)
    assert began == [0]
    assert f"its journals are not those of {key}={then}" in caplog.text


def test_a_damaged_run_is_not_extended(constant, short_run, tmp_path, began) -> None:
    short = short_run(12)
    data = bytearray((short / "checkpoints/step-12.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (short / "checkpoints/step-12.pt").write_bytes(data)
    assert run_experiment(constant(LONG), tmp_path).state == "done"
    assert began == [0]


@pytest.mark.parametrize("name", ["copy_file", "resealed"])
def test_D3_a_kill_while_it_is_extended_leaves_nothing_half(
    constant, short_run, tmp_path, name
) -> None:
    straight = uninterrupted(constant(LONG), tmp_path / "straight")
    outputs = tmp_path / "outputs"
    short = short_run(10, outputs=outputs)

    def work() -> int:
        before(beginning, name, die)
        return run_experiment(constant(LONG), outputs).exit_code

    assert forked(work) == -signal.SIGKILL
    [leftover] = set(short.parent.iterdir()) - {short}
    assert leftover.name.startswith(".")
    extended = run_experiment(constant(LONG), outputs).path
    assert left_by(extended) == straight
    assert set(short.parent.iterdir()) == {short, extended}


def test_a_kill_right_after_it_appeared_is_taken_up_by_the_same_command(
    constant, short_run, tmp_path
):
    straight = uninterrupted(constant(LONG), tmp_path / "straight")
    outputs = tmp_path / "outputs"
    short = short_run(10, outputs=outputs)

    def work() -> int:
        after(extend, "_go_on_from", die)
        return run_experiment(constant(LONG), outputs).exit_code

    assert forked(work) == -signal.SIGKILL
    [new] = set(short.parent.iterdir()) - {short}
    assert RunDirectory(new).state() == "interrupted"
    shutil.rmtree(short)
    assert left_by(run_experiment(constant(LONG), outputs).path) == straight


@pytest.mark.parametrize(("schedule", "kept"), [("constant", {4, 8, 10}), ("cosine", None)])
def test_a_run_that_may_be_extended_keeps_its_last_checkpoint(
    small, tmp_path, schedule: str, kept: set[int] | None
) -> None:
    config = small(f"schedule={schedule}", "trainer.max_steps=10")
    run = run_experiment(config, tmp_path).path
    steps = {int(path.stem.partition("-")[2]) for path in run.glob("checkpoints/step-*.pt")}
    best, last = (read_entry(run / "checkpoints" / name) for name in ("best.json", "last.json"))
    if kept is None:
        assert (steps, last) == ({best.step}, None)
    else:
        assert (best.step in steps, last.step, steps <= kept) == (True, 10, True)


@pytest.mark.slow
def test_a_best_that_only_the_end_looked_at_is_none_of_the_longer_run(constant, tmp_path) -> None:
    noisy = ["optim.lr=0.1", "seed=1", "trainer.on_overfit=observe", "trainer.eval_interval=8"]
    straight = uninterrupted(constant(LONG, *noisy), tmp_path / "straight")
    short = run_experiment(constant(15, *noisy), tmp_path).path
    best = RunDirectory(short).summary()["best"]
    extended = run_experiment(constant(LONG, *noisy), tmp_path).path
    assert best["step"] == 15
    assert best["val_loss"] < RunDirectory(extended).summary()["best"]["val_loss"]
    assert left_by(extended) == straight


@pytest.mark.slow
def test_own_metrics_are_those_of_the_shorter_run_or_it_is_trained_anew(
    constant, tmp_path, monkeypatch, began, caplog
) -> None:
    caplog.set_level("INFO", "gptexp")
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "extended_by.py"
    own.write_text("import gptexp\n\n\n@gptexp.metric('my/one')\ndef one(view): return view.step\n")

    def config(steps: int, *modules: str) -> Config:
        made = constant(steps)
        made.plugins = [*modules]
        return made

    run_experiment(config(12, "extended_by"), tmp_path)
    run_experiment(config(16), tmp_path)
    assert "it has other own code" in caplog.text
    run = run_experiment(config(LONG, "extended_by"), tmp_path).path
    assert began == [0, 0, 12]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["my/one"] for line in lines if "my/one" in line] == [0, 4, 8, 12, 16, 20, 24]
    own.write_text(own.read_text().replace("view.step", "0"))
    assert beginnings(config(30, "extended_by"), tmp_path, 30) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("trainer.max_tokens=320", "trainer.max_tokens=768"),
        ("trainer.max_steps=10", "trainer.max_tokens=768"),
        ("trainer.max_tokens=320", "trainer.max_steps=24"),
    ],
)
def test_a_larger_budget_is_a_longer_run(
    small, tmp_path: Path, began, judge: Judge, less: str, more: str
) -> None:
    budget = small("schedule=constant", more)
    straight = uninterrupted(budget, tmp_path / "straight")
    began.clear()
    run_experiment(small("schedule=constant", less), tmp_path / "outputs")
    run = run_experiment(budget, tmp_path / "outputs").path
    assert began == [0, 10]
    assert left_by(run)[:3] == straight[:3]
    code, lines = judge(run)
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


@pytest.mark.slow
def test_a_warm_up_that_a_budget_shortened_is_no_beginning(small, tmp_path: Path, began) -> None:
    for budget in (320, 768):
        words = ["schedule=constant", "schedule.warmup_steps=15", f"trainer.max_tokens={budget}"]
        run_experiment(small(*words), tmp_path)
    assert began == [0, 0]


def test_a_run_of_an_earlier_gptexp_is_extended(constant, short_run, tmp_path: Path, began) -> None:
    run = short_run(10)
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["beginning_hash"]
    (run / "manifest.json").write_text(json.dumps(resealed(manifest, {}), indent=2) + "\n")
    run_experiment(constant(LONG), tmp_path)
    assert began == [10]


def test_a_manifest_is_read_once_for_all_points_of_a_grid(
    constant, short_run, tmp_path, monkeypatch
) -> None:
    short_run(10)
    read: list[Path] = []
    before(RunDirectory, "manifest", lambda self: read.append(self.path), monkeypatch)
    points = [constant(LONG, f"optim.lr={lr}") for lr in (1e-4, 2e-4, 3e-4)]
    assert [beginnings(point, tmp_path, LONG) for point in points] == [[], [], []]
    assert len(read) == 1


@pytest.mark.slow
@pytest.mark.parametrize("override", ["schedule=cosine", "schedule=linear"])
def test_where_a_longer_run_is_trained_anew_it_says_how_to_branch(
    small, tmp_path: Path, began, caplog, override: str
) -> None:
    caplog.set_level("INFO", "gptexp")
    short = run_experiment(small(override), tmp_path).path
    caplog.clear()
    run_experiment(small(override, "trainer.max_steps=24"), tmp_path)
    assert began == [0, 0]
    line = (
        f"{short} has 12 steps under its own {override[9:]}; to go on from there: "
        f"branch_from={short} trainer.max_steps=24"
    )
    assert [record.getMessage() for record in caplog.records].count(line) == 1
    caplog.clear()
    run_experiment(small(override, "trainer.max_steps=24", "seed=1"), tmp_path)
    assert "branch_from" not in caplog.text


def test_event_files_of_an_extended_run_hold_the_whole_curve(constant, tmp_path) -> None:
    short = run_experiment(constant(10, "logger=tensorboard"), tmp_path).path
    stays = contents(short)
    new = run_experiment(constant(LONG, "logger=tensorboard"), tmp_path).path
    assert len(list(new.glob("events.out.tfevents.*"))) == 1
    assert {p: v for p, v in contents(short).items() if "tfevents" in p.name} == {
        p: v for p, v in stays.items() if "tfevents" in p.name
    }
