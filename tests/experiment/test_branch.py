"""A run that goes on from another one's checkpoint under another schedule, as a run of its own."""

import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from interruptions import after, before, die, forked, kill_before_step, stop_before_step
from interruptions import left as left_by
from judged_runs import Judge, contents
from small_runs import metrics, problem_lines, samples, summary
from spoiled_updates import loss_at

import gptexp as package
from gptexp.analysis.labels import label_runs
from gptexp.analysis.records import collect
from gptexp.config import Config, from_overrides
from gptexp.errors import GptexpError
from gptexp.experiment import beginning, branch
from gptexp.experiment.identity import identify
from gptexp.experiment.inherit import inherited
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer
from gptexp.optim.schedule import build_schedule
from gptexp.runs import checkpoint
from gptexp.runs.directory import RunDirectory
from gptexp.runs.seal import is_broken
from gptexp.sweep.plan import plan_sweep
from gptexp.training.loss_scale import FIRST
from gptexp.training.step import UpdateStep
from gptexp.training.trainer import Trainer

FROM, TO = 10, 24  # steps of the base, whose end is off its intervals, and of the branch


@pytest.fixture
def base(small: Callable[..., Config], once: Callable[..., Path], tmp_path: Path) -> Path:
    """A run under a cosine that is done at step FROM."""
    return once(small(f"trainer.max_steps={FROM}"), tmp_path / "outputs")


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The step at which each training begins."""
    steps: list[int] = []
    after(Trainer, "begin", lambda self, *_: steps.append(self.step), monkeypatch)
    return steps


def branched(run: Path, *overrides: str, steps: int = TO) -> Config:
    """The config of `python run.py branch_from=RUN trainer.max_steps=STEPS OVERRIDES`."""
    words = [f"branch_from={run}", f"trainer.max_steps={steps}", "logger=none", *overrides]
    return inherited(from_overrides(words), words)


def trained(config: Config, outputs: Path) -> Path:
    outcome = run_experiment(config, outputs)
    assert outcome.state == "done", outcome
    return outcome.path


def refusals(config: Config, outputs: Path) -> list[str]:
    """The lines with which a config is refused before its directory exists."""
    with pytest.raises(GptexpError) as refused:
        identify(config, outputs)
    return problem_lines(refused.value)


def by_hand(base: Path, config: Config, step: int, outputs: Path) -> str:
    """The digest of the weights after all that a branch does to them, written out."""
    state = checkpoint.read(base / f"checkpoints/step-{step}.pt")
    inputs = prepare(config, identify(config, outputs))
    model = build_model(config.model, inputs.tokenizer.vocab_size, seed=0)
    model.load_state_dict(state["model"])
    optimizer = build_optimizer(config.optim, model)
    own = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update({key: settings[key] for key in settings if key != "params"})
    torch.set_rng_state(state["rng"]["cpu"])
    model.train()
    cfg = config.trainer
    update = UpdateStep(model, optimizer, inputs.runtime, cfg.grad_clip)
    rate = build_schedule(config.schedule, cfg.max_steps)
    corpus = inputs.corpus
    for done in range(step, cfg.max_steps):
        count = corpus.tokens_seen(done + 1) - corpus.tokens_seen(done)
        lr = config.optim.lr * rate(done)
        update(corpus.batch(done), cfg.batch_size, done + 1, count, lr)
    return checkpoint.digest(model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["schedule=linear", "optim.lr=5e-3", "optim.weight_decay=0.3", "optim.beta2=0.9"],
        ["model.dropout=0.2", "trainer.grad_clip=0.1", "trainer.eval_interval=5"],
    ],
)
def test_a_branch_equals_what_is_done_by_hand(
    base: Path, tmp_path: Path, began: list[int], overrides: list[str]
) -> None:
    stays = contents(base)
    config = branched(base, *overrides)
    expected = by_hand(base, config, FROM, tmp_path / "outputs")
    run = trained(config, tmp_path / "outputs")
    assert began == [FROM]
    assert summary(run)["final"]["weights_sha256"] == expected
    assert {p: v for p, v in contents(base).items() if p.name != ".lock"} == {
        p: v for p, v in stays.items() if p.name != ".lock"
    }


def test_its_curve_is_that_of_the_base_and_goes_on(base: Path, tmp_path: Path) -> None:
    run = trained(branched(base), tmp_path / "outputs")
    lines = metrics(run)
    logged = [line["step"] for line in lines if "val/loss" not in line]
    evaluated = [line["step"] for line in lines if "val/loss" in line]
    assert logged == [3, 6, 9, 12, 15, 18, 21, 24], "the half window at the base's end is not there"
    assert evaluated == [0, 4, 8, 10, 12, 16, 20, 24], "the evaluation at its end is"
    theirs = [line for line in metrics(base) if line["step"] < FROM or "val/loss" in line]
    assert lines[: len(theirs)] == theirs
    assert [line["step"] for line in samples(run)][:1] == [6]
    tokens = [line["tokens"] / line["step"] for line in lines if line["step"]]
    assert len(set(tokens)) == 1


@pytest.mark.slow
def test_it_goes_on_being_looked_into_as_its_base_was(small, tmp_path: Path) -> None:
    config = small(f"trainer.max_steps={FROM}", "trainer.diagnostics_interval=5")
    run = trained(branched(trained(config, tmp_path / "outputs")), tmp_path / "outputs")
    steps = [line["step"] for line in metrics(run) if "diag/logit_max" in line]
    assert steps == [5, 10, 15, 20]


def test_it_says_in_all_places_what_differs(base: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    run = trained(branched(base, "optim.lr=2e-3"), tmp_path / "outputs")
    manifest = json.loads((run / "manifest.json").read_text())
    told = manifest["branched"]
    assert (told["run"], told["step"]) == (str(base), FROM)
    assert told["differs"].startswith(
        "optim.lr=0.002 (before 0.001), trainer.max_steps=24 (before "
    )
    assert "; learning rate 1.3e-04 before, 1.5e-03 from there" in told["differs"]
    assert summary(run)["branched"] == told
    assert not is_broken(manifest)
    line = f"branch  of {base} at step 10: {told['differs']}"
    assert [record.getMessage() for record in caplog.records].count(line) == 2
    assert line in (run / "run.log").read_text()


@pytest.mark.slow
def test_it_is_a_run_of_its_own_by_what_it_goes_on_from(
    base: Path, small, tmp_path: Path, began: list[int]
) -> None:
    outputs = tmp_path / "outputs"
    run = trained(branched(base), outputs)
    anew = trained(small(f"trainer.max_steps={TO}"), outputs)
    assert began == [FROM, 0]
    assert len({base.name, run.name, anew.name}) == 3
    assert len({path.name.rpartition("-")[0] for path in (base, run, anew)}) == 1
    moved = Path(shutil.copytree(base, tmp_path / "moved" / base.name))
    assert run_experiment(branched(moved), outputs).state == "already done"
    assert began == [FROM, 0]


@pytest.mark.slow
def test_it_is_taken_up_by_the_same_command_as_any_run(base: Path, tmp_path: Path) -> None:
    straight = left_by(trained(branched(base), tmp_path / "straight"))
    kill_before_step(branched(base), tmp_path / "killed", 17)
    run = trained(branched(base), tmp_path / "killed")
    assert left_by(run) == straight
    assert json.loads((run / "manifest.json").read_text())["branched"]["step"] == FROM


@pytest.mark.slow
@pytest.mark.parametrize("level", ["prefix", "full"])
def test_made_again_from_its_base_it_is_identical(
    base: Path, tmp_path: Path, judge: Judge, level: str
) -> None:
    run = trained(branched(base), tmp_path / "outputs")
    code, lines = judge(run, level)
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines
    if level == "full":
        assert any("24 of 24 steps, killed at step 17" in line for line in lines)


def test_without_its_base_it_cannot_be_judged_nor_gone_on_with(
    base: Path, tmp_path: Path, judge: Judge
) -> None:
    config = branched(base)
    run = trained(config, tmp_path / "outputs")
    shutil.rmtree(base)
    code, lines = judge(run)
    assert (code, lines[-1]) == (
        2,
        f"CANNOT: branch_from: {base} is not here with the checkpoint that is in the run's hash. "
        "Fix: bring it to that path",
    )
    [line] = refusals(config, tmp_path / "outputs")
    assert line.startswith(f"branch_from: {base} is not there. Fix: ")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=1", "seed: 1, and 0 in the run of branch_from, whose optimizer and batches go on"),
        ("model.n_layer=3", "model.n_layer: 3, and 1 in"),
        ("optim=sgd", "optim.name: sgd, and adamw in"),
        ("optim.scaling=mup", "optim.scaling: mup, and none in"),
        ("optim.base_width=64", "optim.base_width: 64, and 128 in"),
        ("tokenizer=byte", "tokenizer.name: byte, and char in"),
        ("trainer.batch_size=7", "trainer.batch_size: 7 sequences an update, with trainer.grad_ac"),
        ("data.fraction=0.5", "data.fraction: 0.5, and 1.0 in"),
        ("trainer.eval_tokens=40", "trainer.eval_tokens: 40, and null in"),
    ],
)
def test_what_its_optimizer_or_batches_do_not_go_on_under_is_a_line(
    base: Path, tmp_path: Path, override: str, line: str
) -> None:
    found = refusals(branched(base, override), tmp_path / "outputs")
    [told] = [one for one in found if one.startswith(line)]
    assert told.endswith(f"Fix: leave it out, or init_from={base} for the weights alone")


def test_another_text_is_a_line_and_the_same_elsewhere_goes(
    base: Path, tmp_path: Path, text_file: Path
) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_text(text_file.read_text())
    run = trained(branched(base, f"data.path={copy}"), tmp_path / "outputs")
    assert run_experiment(branched(base), tmp_path / "outputs").path == run
    copy.write_text(text_file.read_text()[:-1] + "b")
    [line] = refusals(branched(base, f"data.path={copy}"), tmp_path / "outputs")
    assert line.startswith("data.path: SHA-256 ") and f"init_from={base} for" in line


def test_the_split_of_a_batch_may_change_and_its_size_not(base: Path, tmp_path: Path) -> None:
    rows = RunDirectory(base).config().trainer.batch_size
    assert rows % 2 == 0
    words = [f"trainer.batch_size={rows // 2}", "trainer.grad_accum=2"]
    assert trained(branched(base, *words), tmp_path / "outputs")


def test_a_branch_without_a_step_to_make_is_a_line(base: Path, tmp_path: Path) -> None:
    outcome = run_experiment(branched(base, steps=FROM), tmp_path / "outputs")
    assert (outcome.state, outcome.error) == (
        "refused",
        f"trainer.max_steps: 10, and {base} is at step 10. Fix: trainer.max_steps=20",
    )
    assert not outcome.path.exists()


def test_two_runs_to_start_from_are_a_line(base: Path, tmp_path: Path) -> None:
    [line] = refusals(branched(base, f"init_from={base}"), tmp_path / "outputs")
    assert line.startswith("init_from: branch_from is given too")


@pytest.mark.slow
def test_a_run_that_may_go_on_is_named_by_its_checkpoint(small, tmp_path: Path, began) -> None:
    outputs = tmp_path / "outputs"
    stop_before_step(small("trainer.max_steps=12"), outputs, 10)
    [run] = (outputs / "default").iterdir()
    with pytest.raises(GptexpError) as refused:
        branched(run)
    [line] = problem_lines(refused.value)
    file = run / "checkpoints/step-8.pt"
    assert line == (
        f"branch_from: {run} is killed, and may go on by its own command. Fix: branch_from={file}"
    )
    began.clear()
    trained(branched(file), outputs)
    assert began == [8]


@pytest.mark.slow
def test_a_run_that_kept_no_last_checkpoint_says_which_it_has(small, tmp_path: Path) -> None:
    worse = ["optim.lr=0.3", "trainer.on_overfit=observe", "schedule.final_fraction=1"]
    run = trained(small("trainer.max_steps=20", *worse), tmp_path / "outputs")
    best = summary(run)["best"]["step"]
    assert best < 20
    with pytest.raises(GptexpError) as refused:
        branched(run)
    [line] = problem_lines(refused.value)
    file = run / f"checkpoints/step-{best}.pt"
    assert f"is done at step 20, and kept the checkpoint of its best, of step {best}, al" in line
    assert line.endswith(f"Fix: branch_from={file}")
    after = trained(branched(file, "optim.lr=1e-3"), tmp_path / "outputs")
    assert json.loads((after / "manifest.json").read_text())["branched"]["step"] == best


@pytest.mark.slow
def test_of_a_run_that_kept_each_checkpoint_any_can_be_branched_from(small, tmp_path, began):
    outputs = tmp_path / "outputs"
    run = trained(small("trainer.max_steps=12", "trainer.keep=all"), outputs)
    made = [trained(branched(run / f"checkpoints/step-{n}.pt"), outputs) for n in (4, 8)]
    made.append(trained(branched(run), outputs))
    assert began == [0, 4, 8, 12]
    assert len({path.name for path in made}) == 3
    assert [line["step"] for line in metrics(made[0]) if "val/loss" in line][:3] == [0, 4, 8]


@pytest.mark.slow
def test_patience_is_counted_anew(small, tmp_path: Path, began) -> None:
    impatient = ["trainer.patience=2", "trainer.min_delta=1.0", "schedule=linear"]
    run = trained(small("trainer.max_steps=20", *impatient), tmp_path / "outputs")
    assert summary(run)["steps"] == 8
    made = trained(branched(run, steps=40), tmp_path / "outputs")
    assert began == [0, 8]
    assert summary(made)["steps"] == 16
    told = summary(made)["branched"]["differs"]
    assert told.endswith("it had stopped: validation has not improved for 2 evaluations")


@pytest.mark.slow
def test_a_run_that_diverged_goes_on_from_what_was_good(small, tmp_path: Path, monkeypatch) -> None:
    outputs = tmp_path / "outputs"
    with monkeypatch.context() as patch:
        loss_at(7, math.nan, patch)
        outcome = run_experiment(small("trainer.max_steps=20"), outputs)
    assert outcome.state == "diverged"
    made = trained(branched(outcome.path, "optim.lr=1e-4", steps=20), outputs)
    told = summary(made)["branched"]
    assert told["step"] == 4
    assert "it had diverged: step 7: loss nan" in told["differs"]
    assert all(line["val/loss"] > 0 for line in metrics(made) if "val/loss" in line)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["differs", "copy_file"])
def test_D3_a_kill_while_it_is_branched_leaves_nothing_half(base, tmp_path, name) -> None:
    straight = left_by(trained(branched(base), tmp_path / "straight"))
    outputs = tmp_path / "outputs"

    def work() -> int:
        before(branch if name == "differs" else beginning, name, die)
        return run_experiment(branched(base), outputs).exit_code

    assert forked(work) == -signal.SIGKILL
    assert [path for path in base.parent.iterdir() if path.name[0] != "."] == [base]
    assert left_by(trained(branched(base), outputs)) == straight
    assert all(path.name[0] != "." for path in base.parent.iterdir())


def test_a_branch_whose_checkpoints_are_gone_does_not_begin_anew(base, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    stop_before_step(branched(base), outputs, 15)
    [run] = {path.parent for path in outputs.glob("*/*/config.yaml")} - {base}
    shutil.rmtree(run / "checkpoints")
    outcome = run_experiment(branched(base), outputs)
    assert "its checkpoints are gone. Fix: rerun=true to train anew" in outcome.error


@pytest.mark.slow
def test_under_a_constant_rate_a_branch_is_extended(small, tmp_path: Path, began) -> None:
    impatient = ["trainer.min_delta=1", "trainer.patience=4"]  # counted anew from the branch on
    base = trained(small(f"trainer.max_steps={FROM}", *impatient), tmp_path / "outputs")
    words = ["schedule=constant", "schedule.warmup_steps=2"]
    straight = trained(branched(base, *words), tmp_path / "straight")
    began.clear()
    trained(branched(base, *words, steps=17), tmp_path / "outputs")
    run = trained(branched(base, *words), tmp_path / "outputs")
    assert began == [FROM, 17]
    assert left_by(run)[1:3] == left_by(straight)[1:3]
    assert {**summary(run), "branched": 0} == {**summary(straight), "branched": 0}


@pytest.mark.slow
def test_a_branch_can_be_branched_from(base, tmp_path: Path, began) -> None:
    first = trained(branched(base), tmp_path / "outputs")
    second = trained(branched(first, steps=30), tmp_path / "outputs")
    assert began[-2:] == [FROM, TO]
    assert RunDirectory(second).config().init_from is None
    assert summary(second)["branched"]["run"] == str(first)


def test_event_files_of_a_branch_hold_the_whole_curve(base, tmp_path: Path) -> None:
    run = trained(branched(base, "logger=tensorboard"), tmp_path / "outputs")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [file] = run.glob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    assert [event.step for event in events.Scalars("val/loss")] == [0, 4, 8, 10, 12, 16, 20, 24]


def test_python_branches_as_the_command_does(base, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"branch_from={base}", "trainer.max_steps=14", "logger=none", "name=mine"]
    outcome = package.train(words, quiet=True)
    assert (outcome.state, outcome.path.parent) == ("done", Path("outputs/mine"))
    assert summary(outcome.path)["branched"]["step"] == FROM


@pytest.mark.slow
def test_a_grid_branches_at_each_of_its_points(base, tmp_path: Path, monkeypatch, began) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"branch_from={base}", "trainer.max_steps=12,14", "logger=none", "name=mine"]
    outcomes = package.train_grid([*words, "optim.lr=1e-3,2e-3"], quiet=True)
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert began == [FROM] * 4


@pytest.mark.slow
def test_it_goes_by_the_hash_of_its_base_where_runs_are_told_apart(small, tmp_path, gptexp) -> None:
    base = trained(small("trainer.keep=all"), tmp_path / "outputs")
    run = trained(branched(base), tmp_path / "outputs")
    middle = trained(branched(base / "checkpoints/step-8.pt"), tmp_path / "outputs")
    runs, _ = collect([base.parent])
    labels, digits = label_runs(runs), base.name[-8:]
    assert f"branch_from={digits}" in labels[run].split()
    assert f"branch_from={digits}/step-8" in labels[middle].split()
    shown = gptexp("table", base.parent)
    rows, _, notes = shown.out.partition("\n\n")
    assert f" {digits} " in rows and f" {digits}/step-8 " in rows and str(base) not in rows
    assert f"branch_from: 1 run began with the steps of {base}, under its settings" in notes


def test_a_plan_says_where_it_branches(base, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_sweep([f"branch_from={base}", "trainer.max_steps=20"])
    assert "branches at step 10" in plan


def test_a_branch_in_float64_sums_its_losses_in_it(base, tmp_path: Path) -> None:
    run = trained(branched(base, "trainer.dtype=float64"), tmp_path / "outputs")
    state = checkpoint.read(run / f"checkpoints/step-{TO}.pt")
    assert state["loss_sum"].dtype == state["model"]["head.weight"].dtype == torch.float64


@pytest.mark.slow
def test_a_branch_in_float16_begins_with_the_first_loss_scale(base, tmp_path: Path) -> None:
    run = trained(branched(base, "trainer.dtype=float16"), tmp_path / "outputs")
    state = checkpoint.read(run / f"checkpoints/step-{TO}.pt")
    assert state["loss_scale"] == {"scale": FIRST, "steady": TO - FROM, "skipped": 0}
    back = branched(run, "trainer.dtype=float32", steps=TO + 2)
    again = trained(back, tmp_path / "outputs")
    assert "loss_scale" not in checkpoint.read(again / f"checkpoints/step-{TO + 2}.pt")


def test_a_trace_of_the_base_is_none_of_the_branch(small, tmp_path: Path) -> None:
    base = trained(small(f"trainer.max_steps={FROM}", "trainer.profile=2"), tmp_path / "outputs")
    assert branched(base).trainer.profile == 0
    assert branched(base, "trainer.profile=3").trainer.profile == 3
