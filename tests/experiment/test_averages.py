"""Averages of the weights: evaluated, kept, used; the run itself is as without them."""

import json
from pathlib import Path

import pytest
import torch
from interruptions import Small, kill_before_step, left, uninterrupted
from interruptions import finish as finished
from judged_runs import Judge
from small_runs import metrics, refusal, summary
from typer.testing import CliRunner

import gptexp
from gptexp.analysis.table import build_table
from gptexp.cli.app import app
from gptexp.config import from_overrides
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.inherit import inherited
from gptexp.experiment.integrity import read_record
from gptexp.experiment.run import run_experiment
from gptexp.runs import checkpoint
from gptexp.runs.entries import read_entry

BOTH = ["optim.ema=0.6", "optim.average_last=0.5"]
CURVES = ("val/ema_loss", "val/mean_loss")


def without(line: dict) -> dict:
    return {key: value for key, value in line.items() if key not in CURVES}


def averaged(run: Path, curve: str) -> dict[int, float]:
    """A curve of metrics.jsonl by steps."""
    return {line["step"]: line[curve] for line in metrics(run) if curve in line}


def test_the_run_is_bit_for_bit_what_it_is_without_them(small: Small, once, tmp_path: Path) -> None:
    plain = once(small(), tmp_path)
    run = once(small(*BOTH), tmp_path)
    assert [without(line) for line in metrics(run)] == metrics(plain)
    for key in ("best", "final", "cliff", "sample", "stop_reason"):
        assert summary(run)[key] == summary(plain)[key]
    assert "averages" not in summary(plain)
    assert "averages" not in json.loads((plain / "checkpoints/best.json").read_text())


def test_they_are_means_of_the_weights_after_each_step(small: Small, tmp_path: Path) -> None:
    run = run_experiment(
        small(*BOTH, "trainer.checkpoint_interval=1", "trainer.keep=all"), tmp_path
    ).path
    states = [checkpoint.read(run / f"checkpoints/step-{step}.pt") for step in range(13)]
    assert [set(state.get("averages", {})) for state in states] == [
        set(),
        *[{"ema"}] * 6,
        *[{"ema", "mean"}] * 6,
    ]
    name = next(iter(states[0]["model"]))
    weights = [state["model"][name].double() for state in states]
    mean = sum(weights[7:13]) / 6
    found = states[12]["averages"]["mean"]["model"][name].double()
    torch.testing.assert_close(found, mean, rtol=1e-5, atol=1e-7)
    shares = [0.6 ** (12 - step) for step in range(1, 13)]
    ema = sum(share * one for share, one in zip(shares, weights[1:], strict=True)) / sum(shares)
    found = states[12]["averages"]["ema"]["model"][name].double()
    torch.testing.assert_close(found, ema, rtol=1e-5, atol=1e-7)


def test_each_evaluation_judges_them_beside_the_weights(small: Small, once, tmp_path: Path) -> None:
    run = once(small(*BOTH), tmp_path)
    ema, mean = (averaged(run, curve) for curve in CURVES)
    assert (list(ema), list(mean)) == ([4, 8, 12], [8, 12])
    told = summary(run)["averages"]
    best = summary(run)["best"]
    for kind, curve in (("ema", ema), ("mean", mean)):
        assert told[kind] == {"step": 12, "val_loss": min(curve.values())}
    losses = {"raw": best["val_loss"], "ema": ema[12], "mean": mean[12]}
    assert told["better"] == min(losses, key=losses.get)


@pytest.mark.parametrize("step", [5, 7, 11])
def test_P2_killed_and_resumed_they_equal_uninterrupted_ones(
    small: Small, tmp_path: Path, step: int
) -> None:
    config = small(*BOTH)
    expected = uninterrupted(config, tmp_path / "straight")
    config.trainer.checkpoint_interval = 1
    kill_before_step(config, tmp_path / "killed", step)
    assert finished(config, tmp_path / "killed") == expected


@pytest.mark.slow
def test_each_is_used_where_its_own_loss_was_lowest(small: Small, tmp_path: Path) -> None:
    """At a learning rate far too high these are other steps."""
    words = ["optim.lr=0.1", "schedule=constant", "trainer.on_overfit=observe"]
    run = run_experiment(small(*BOTH, *words, "trainer.eval_interval=1"), tmp_path).path
    told = summary(run)
    steps = {"raw": told["best"]["step"]}
    steps |= {kind: told["averages"][kind]["step"] for kind in ("ema", "mean")}
    assert len(set(steps.values())) > 1, "this test wants them apart"
    losses = {"raw": told["best"]["val_loss"]}
    losses |= {kind: told["averages"][kind]["val_loss"] for kind in ("ema", "mean")}
    for kind, step in steps.items():
        loaded = gptexp.load(run, weights=kind)
        assert loaded.step == step
        said = evaluate_run(run, None, [], weights=kind)
        assert f" {losses[kind]:.4f} nats" in said
        assert said.endswith(f"{'' if kind == 'raw' else f'{kind} of the '}weights of step {step}")
    assert not torch.equal(*(gptexp.load(run, weights=k).model.head.weight for k in ("raw", "ema")))
    kept = {int(path.stem[5:]) for path in run.glob("checkpoints/*.pt")}
    assert kept == {*steps.values(), 6}, "and where a longer run would go on"
    assert read_record(run).damage == []


@pytest.mark.slow
def test_the_verbs_take_them_by_their_name(small: Small, once, tmp_path: Path) -> None:
    run = once(small(*BOTH), tmp_path)
    texts = {}
    for kind in ("raw", "ema", "mean"):
        words = ["sample", str(run), "--tokens", "200", "--weights", kind]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        texts[kind] = done.output
    assert texts["ema"] == gptexp.load(run, weights="ema").sample(tokens=200)[0] + "\n"


def test_what_a_run_does_not_have_is_refused(small: Small, once, tmp_path: Path) -> None:
    run = once(small("optim.ema=0.9"), tmp_path)
    line = refusal(lambda: gptexp.load(run, weights="mean"))
    assert line == (
        f"{run}/checkpoints: holds no mean of the weights. Fix: train with optim.average_last=0.2"
    )
    line = refusal(lambda: gptexp.load(run / "checkpoints/step-12.pt", weights="mean"))
    assert "step-12.pt: holds no mean of the weights" in line
    line = refusal(lambda: gptexp.load(run, weights="best"))
    assert line == "weights: 'best' is not known. Fix: one of raw, ema, mean"


def test_the_last_lines_say_which_weights_are_better(small: Small, tmp_path, caplog) -> None:
    caplog.set_level("INFO", "gptexp")
    run = run_experiment(small(*BOTH), tmp_path).path
    told = summary(run)
    for kind in ("ema", "mean"):
        loss = told["averages"][kind]["val_loss"]
        apart = told["best"]["val_loss"] - loss
        words = f"{loss:.4f} at step 12, of averaged weights: {abs(apart):.4f} "
        words += f"{'below' if apart >= 0 else 'above'} the best"
        [line] = [m for m in caplog.messages if m.startswith(f"{kind:7} ")]
        assert line.startswith(f"{kind:7} {words}")
        is_better = told["averages"]["better"] == kind
        assert line.endswith(f"gptexp sample RUN --weights {kind}") == is_better
    at = next(i for i, m in enumerate(caplog.messages) if m.startswith("     12 "))
    row, ema, mean = caplog.messages[at : at + 3]
    told = told["averages"]
    assert [ema.split(), mean.split()] == [
        ["ema", f"{told['ema']['val_loss']:.4f}"],
        ["mean", f"{told['mean']['val_loss']:.4f}"],
    ]
    assert len(ema) == len(mean) == row.index(row.split()[4]) + 6, "below the losses of validation"


def test_the_table_has_them_as_columns(small: Small, once, tmp_path: Path) -> None:
    run = once(small(*BOTH), tmp_path)
    table = build_table([run])
    told = summary(run)["averages"]
    assert {"ema_loss", "mean_loss"} <= set(table.columns) - table.quiet
    assert table.rows[0]["ema_loss"] == told["ema"]["val_loss"]
    plain = build_table([once(small(), tmp_path)])
    assert {"ema_loss", "mean_loss"} <= plain.quiet


@pytest.mark.parametrize("level", ["verify", "full"])
def test_they_are_made_again(small: Small, once, tmp_path: Path, judge: Judge, level: str) -> None:
    code, lines = judge(once(small(*BOTH), tmp_path), level)
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


def test_a_branch_begins_those_that_its_base_does_not_have(small: Small, tmp_path: Path) -> None:
    base = run_experiment(small("optim.ema=0.6"), tmp_path).path
    words = [f"branch_from={base}", "trainer.max_steps=20", "logger=none"]
    words += ["optim.average_last=0.9", "trainer.keep=all"]
    run = run_experiment(inherited(from_overrides(words), words), tmp_path).path
    assert list(averaged(run, "val/ema_loss")) == [4, 8, 12, 16, 20]
    assert list(averaged(run, "val/mean_loss")) == [16, 20]
    state = checkpoint.read(run / "checkpoints/step-20.pt")
    assert {kind: part["since"] for kind, part in state["averages"].items()} == {
        "ema": 0,
        "mean": 12,
    }


def test_the_entry_of_a_checkpoint_tells_of_them(small: Small, once, tmp_path: Path) -> None:
    run = once(small("optim.ema=0.9"), tmp_path)
    entry = read_entry(run / "checkpoints/best.json")
    assert entry.averages == {"ema": 12}
    assert left(run)[3] == {"step-12.pt", "step-12.json", "best.json"}
