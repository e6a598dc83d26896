"""Runs under warm-up, stable, decay share their trunk: trained once, each equals one by itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from event_files import expected_curves, scalars
from interruptions import after, stop_before_step, uninterrupted
from interruptions import left as left_by
from judged_runs import Judge
from small_runs import SMALL, summary

from gptexp.config import Config, beginning_hash, config_hash, from_overrides
from gptexp.experiment.identity import identify
from gptexp.experiment.inherit import inherited
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer
from gptexp.runs import checkpoint
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import LAST, read_entry
from gptexp.runtime.random import seed_dropout, stream_seed
from gptexp.sweep.plan import plan_sweep
from gptexp.sweep.points import points_of
from gptexp.sweep.run import waiting
from gptexp.training.step import UpdateStep
from gptexp.training.trainer import Trainer

SHORT, LONG = 10, 20  # steps, of which a decay of 0.3 leaves 7 and 14 to the trunk


@pytest.fixture
def wsd(small: Callable[..., Config]) -> Callable[..., Config]:
    """`wsd(10, "seed=1")`: a small run of so many steps under warm-up, stable, decay."""

    def build(steps: int, *overrides: str) -> Config:
        words = ["schedule=wsd", "schedule.decay_fraction=0.3", f"trainer.max_steps={steps}"]
        return small(*words, *overrides)

    return build


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The step at which each training begins."""
    steps: list[int] = []
    after(Trainer, "begin", lambda self, *_: steps.append(self.step), monkeypatch)
    return steps


def kept(run: Path) -> set[int]:
    """The steps of the checkpoints that stay."""
    return {int(path.stem.partition("-")[2]) for path in run.glob("checkpoints/step-*.pt")}


def by_hand(config: Config, outputs: Path) -> str:
    """The digest of the last weights of a run, its updates and learning rates written out."""
    inputs = prepare(config, identify(config, outputs))
    seed = stream_seed(config.seed, "init")
    model = build_model(config.model, inputs.tokenizer.vocab_size, seed)
    update = UpdateStep(
        model, build_optimizer(config.optim, model), inputs.runtime, config.trainer.grad_clip
    )
    seed_dropout(config.seed)
    model.train()
    steps, corpus = config.trainer.max_steps, inputs.corpus
    begin = steps - round(0.3 * steps)
    for step in range(steps):
        share = min(1.0, (step + 1) / 3)
        if step > begin:
            share = 1 - (step - begin) / (steps - begin)
        count = corpus.tokens_seen(step + 1) - corpus.tokens_seen(step)
        lr = config.optim.lr * share
        update(corpus.batch(step), config.trainer.batch_size, step + 1, count, lr)
    return checkpoint.digest(model.state_dict())


@pytest.mark.slow
def test_a_longer_run_goes_on_from_where_the_decay_of_a_shorter_one_began(
    wsd, tmp_path: Path, began, judge: Judge
) -> None:
    straight = uninterrupted(wsd(LONG), tmp_path / "straight")
    assert straight[0]["final"]["weights_sha256"] == by_hand(wsd(LONG), tmp_path / "outputs")
    began.clear()
    short = run_experiment(wsd(SHORT), tmp_path / "outputs").path
    long = run_experiment(wsd(LONG), tmp_path / "outputs").path
    assert began == [0, 7]
    assert left_by(long) == straight
    extended = json.loads((long / "manifest.json").read_text())["extended"]
    assert extended == {"run": str(short), "step": 7}
    code, lines = judge(long)
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "step"),
    [
        (["schedule.shape=linear"], ["schedule.shape=sqrt"], 14),
        (["schedule.final_fraction=0.5"], [], 14),
        (["schedule.decay_fraction=0.5"], ["schedule.decay_fraction=0.2"], 10),
        (["optim.ema=0.9"], ["optim.ema=0.9", "schedule.shape=cosine"], 14),
        ([], ["optim.average_last=0.3"], 14),
        (["optim.average_last=0.5"], [], 10),
        (["trainer.keep=all"], ["trainer.keep=all", "trainer.max_steps=16"], 8),
    ],
)
def test_all_decays_begin_with_one_trunk(
    wsd, tmp_path: Path, began, first: list[str], second: list[str], step: int
) -> None:
    straight = uninterrupted(wsd(LONG, *second), tmp_path / "straight")
    began.clear()
    run_experiment(wsd(LONG, *first), tmp_path / "outputs")
    run = run_experiment(wsd(LONG, *second), tmp_path / "outputs").path
    assert began == [0, step]
    assert left_by(run)[:3] == straight[:3]


@pytest.mark.slow
def test_a_constant_run_is_a_trunk_and_goes_on_with_one(small, wsd, tmp_path: Path, began) -> None:
    constant = small("schedule=constant", "trainer.max_steps=12")
    longer = small("schedule=constant", "trainer.max_steps=30")
    expected = [uninterrupted(c, tmp_path / "straight") for c in (wsd(LONG), longer)]
    began.clear()
    outputs = tmp_path / "outputs"
    run_experiment(constant, outputs)
    runs = [run_experiment(config, outputs).path for config in (wsd(LONG), longer)]
    assert began == [0, 12, 14], "from its own end, then from the end of the trunk"
    assert [left_by(run)[:3] for run in runs] == [one[:3] for one in expected]


@pytest.mark.parametrize("overrides", [["optim.lr=2e-3"], ["optim.ema=0.9"], ["rerun=true"]])
def test_what_begins_otherwise_is_trained_from_its_first_step(
    wsd, tmp_path: Path, began, overrides: list[str]
) -> None:
    run_experiment(wsd(SHORT), tmp_path)
    run_experiment(wsd(LONG, *overrides), tmp_path)
    assert began == [0, 0]


def test_a_run_that_patience_stops_in_the_trunk_is_none(wsd, tmp_path, began, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    impatient = ["trainer.patience=1", "trainer.min_delta=9.0", "trainer.eval_interval=3"]
    short = run_experiment(wsd(SHORT, *impatient), tmp_path).path
    assert summary(short)["final"]["step"] == 3
    run_experiment(wsd(LONG, *impatient), tmp_path)
    assert began == [0, 0]
    assert "patience stopped it at step 3, where this run would stop too" in caplog.text


def test_what_patience_stops_in_the_decay_is_a_trunk_all_the_same(wsd, tmp_path, began) -> None:
    impatient = ["trainer.patience=2", "trainer.min_delta=9.0"]
    straight = uninterrupted(wsd(LONG, *impatient), tmp_path / "straight")
    began.clear()
    short = run_experiment(wsd(SHORT, *impatient), tmp_path / "outputs").path
    assert summary(short)["final"]["step"] == 8
    assert left_by(run_experiment(wsd(LONG, *impatient), tmp_path / "outputs").path) == straight
    assert began == [0, 7]


@pytest.mark.slow
def test_an_interrupted_run_gives_the_end_of_its_trunk(wsd, tmp_path: Path, began) -> None:
    straight = uninterrupted(wsd(LONG), tmp_path / "straight")
    began.clear()
    stop_before_step(wsd(SHORT), tmp_path / "outputs", 9)
    assert left_by(run_experiment(wsd(LONG), tmp_path / "outputs").path) == straight
    assert began == [0, 7]
    run_experiment(wsd(SHORT), tmp_path / "outputs")
    assert began == [0, 7, 8], "and goes on by its own command"


def test_when_it_is_done_the_end_of_the_trunk_stays_with_the_best(wsd, tmp_path: Path) -> None:
    run = run_experiment(wsd(LONG), tmp_path).path
    best = RunDirectory(run).summary()["best"]["step"]
    trunk = read_entry(run / "checkpoints/step-14.json")
    assert kept(run) == {best, 14, trunk.best_step}
    assert read_entry(run / "checkpoints" / LAST) is None


@pytest.mark.slow
def test_a_branch_decays_from_the_trunk_by_its_checkpoint(wsd, tmp_path: Path) -> None:
    run = run_experiment(wsd(LONG), tmp_path).path
    words = [
        f"branch_from={run}/checkpoints/step-14.pt",
        *("trainer.max_steps=16", "logger=none", "schedule=wsd", "schedule.warmup_steps=2"),
        "schedule.decay_fraction=0.125",
    ]
    branch = run_experiment(inherited(from_overrides(words), words), tmp_path).path
    straight = uninterrupted(wsd(16, "schedule.decay_fraction=0.125"), tmp_path / "straight")
    final = summary(branch)["final"]
    assert final["weights_sha256"] == straight[0]["final"]["weights_sha256"]


@pytest.mark.slow
def test_several_lengths_of_one_sweep_train_the_trunk_once(
    wsd, tmp_path: Path, monkeypatch, began
) -> None:
    monkeypatch.chdir(tmp_path)
    lengths = [(LONG, 0.3), (SHORT, 0.3), (LONG, 0.5), (40, 0.3)]
    composed = [
        ([f"trainer.max_steps={steps}"], wsd(steps, f"schedule.decay_fraction={share}"))
        for steps, share in lengths
    ]
    points = waiting(points_of(composed))
    for point in points:
        run_experiment(point.config, Path("outputs"))
    assert [point.config.trainer.max_steps for point in points] == [SHORT, LONG, LONG, 40]
    assert began == [0, 7, 10, 14]


def test_the_plan_says_what_would_be_extended(wsd, tmp_path: Path, monkeypatch, text_file) -> None:
    monkeypatch.chdir(tmp_path)
    short = run_experiment(wsd(SHORT), Path("outputs")).path
    words = [w for w in SMALL if "max_steps" not in w] + [f"data.path={text_file}"]
    words += ["schedule=wsd", "schedule.decay_fraction=0.3", "trainer.max_steps=20"]
    assert f"extends {short.name[-8:]} from step 7" in plan_sweep([*words, "name=default"])


@pytest.mark.slow
def test_a_budget_is_a_length_too(small, tmp_path: Path, began) -> None:
    words = ["schedule=wsd", "schedule.decay_fraction=0.3"]
    straight = uninterrupted(small(*words, "trainer.max_tokens=640"), tmp_path / "straight")
    began.clear()
    run_experiment(small(*words, "trainer.max_tokens=320"), tmp_path / "outputs")
    run = run_experiment(small(*words, "trainer.max_tokens=640"), tmp_path / "outputs").path
    assert began == [0, 7]
    assert left_by(run) == straight


def test_the_beginnings_of_constant_runs_are_called_as_they_were(small, wsd) -> None:
    """A manifest of an earlier gptexp says them."""
    constant = small("schedule=constant")
    endless = replace(constant, trainer=replace(constant.trainer, max_steps=1))
    assert beginning_hash(constant, "text") == config_hash(endless, "text")
    assert beginning_hash(wsd(LONG), "text") == beginning_hash(constant, "text")
    assert beginning_hash(small(), "text") != beginning_hash(constant, "text")


@pytest.mark.slow
def test_an_average_that_has_begun_is_that_of_its_own_end(small, tmp_path: Path, began) -> None:
    """So no longer run goes on from there, though its learning rate is still at its peak."""
    words = ["schedule=constant", "optim.average_last=0.5"]
    longer = small(*words, f"trainer.max_steps={LONG}")
    straight = uninterrupted(longer, tmp_path / "straight")
    began.clear()
    short = run_experiment(small(*words), tmp_path / "outputs").path
    assert 6 in kept(short)
    run = run_experiment(longer, tmp_path / "outputs").path
    assert began == [0, 6]
    assert left_by(run) == straight
    weights = checkpoint.read(run / "checkpoints/step-20.pt")["averages"]["mean"]["model"]
    assert all(torch.isfinite(weight).all() for weight in weights.values())


@pytest.mark.slow
def test_the_event_files_of_a_longer_run_lack_the_decay_of_the_shorter_one(wsd, tmp_path) -> None:
    words = ["logger=tensorboard", "trainer.log_interval=1"]
    run_experiment(wsd(SHORT, *words), tmp_path)
    run = run_experiment(wsd(LONG, *words), tmp_path).path
    for curve in ("train/loss", "val/loss"):
        assert scalars(run)[curve] == expected_curves(run)[curve]
