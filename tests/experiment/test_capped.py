"""trainer.eval_tokens: evaluations in training judge a part, and the end of a run judges all."""

import json
import math
from dataclasses import replace

import pytest
from interruptions import left, stop_before_step, uninterrupted
from judged_runs import change
from small_runs import metrics, only, summary

from gptexp.config import config_hash
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluator
from gptexp.runs.entries import LAST

CAP = "trainer.eval_tokens=40"  # five windows of 8; validation has 26, and a shorter one


@pytest.fixture
def both(small, once, tmp_path):
    """The directories of a run with exact evaluations, and of one with capped ones."""
    exact = once(small("trainer.keep=all"), tmp_path / "exact")
    return exact, once(small("trainer.keep=all", CAP), tmp_path / "capped")


def losses(line):
    return {"val_loss": line["val/loss"], "train_loss": line["train/eval_loss"]}


def test_the_summary_is_exact_and_says_what_the_capped_evaluations_were(both):
    exact, capped = map(summary, both)
    lines = {line["step"]: line for line in metrics(both[1]) if "val/loss" in line}
    everywhere = {line["step"]: line for line in metrics(both[0]) if "val/loss" in line}
    assert capped["final"]["weights_sha256"] == exact["final"]["weights_sha256"]
    for part in ("best", "final"):
        step = capped[part]["step"]
        assert losses(everywhere[step]).items() <= capped[part].items()
        assert losses(lines[step]).items() <= capped[part]["capped"].items()
        assert capped[part]["capped"]["targets"] == 40
        assert losses(lines[step]) != losses(everywhere[step])
        assert "capped" not in exact[part]
    assert capped["cliff"]["height"] == capped["final"]["val_loss"] - capped["best"]["val_loss"]
    assert capped["cliff"]["gap"] == capped["best"]["val_loss"] - capped["best"]["train_loss"]


def test_the_best_step_is_the_one_that_the_capped_evaluations_choose(small, tmp_path):
    config = small(CAP, "optim=sgd", "optim.lr=3.0", "trainer.on_overfit=observe")
    run = run_experiment(config, tmp_path).path
    lines = [line for line in metrics(run) if "val/loss" in line]
    chosen = min(lines, key=lambda line: line["val/loss"])
    assert summary(run)["best"]["step"] == chosen["step"]
    assert summary(run)["best"]["capped"]["val_loss"] == chosen["val/loss"]


def test_a_cap_is_hashed_and_none_is_left_out(small):
    plain, capped = small(), small(CAP)
    assert config_hash(plain, "0") != config_hash(capped, "0")
    assert config_hash(small("trainer.eval_tokens=null"), "0") == config_hash(plain, "0")
    trainer = replace(plain.trainer, eval_tokens=41)
    assert config_hash(replace(plain, trainer=trainer), "0") != config_hash(capped, "0")


def test_a_cap_that_leaves_nothing_out_is_exact_and_the_run_says_so(small, tmp_path, caplog):
    caplog.set_level("INFO", "gptexp")
    exact = run_experiment(small(), tmp_path).path
    capped = run_experiment(small("trainer.eval_tokens=100000"), tmp_path).path
    assert metrics(capped) == metrics(exact)
    assert summary(capped)["final"] == summary(exact)["final"]
    assert "trainer.eval_tokens=100000 is as many, or more" in caplog.text


def test_a_run_says_what_its_evaluations_judge(small, tmp_path, caplog):
    caplog.set_level("INFO", "gptexp")
    run = run_experiment(small(CAP), tmp_path).path
    assert "judged  40 of " in caplog.text
    assert "capped  chosen by evaluations of 40 targets, at " in caplog.text
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data"]["judged"] == {"train": 40, "val": 40}


@pytest.mark.slow
def test_a_capped_run_that_was_interrupted_equals_one_that_was_not(small, tmp_path):
    straight = uninterrupted(small(CAP), tmp_path / "straight")
    stop_before_step(small(CAP), tmp_path / "outputs", 6)
    assert left(run_experiment(small(CAP), tmp_path / "outputs").path) == straight


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["trainer.keep=best", "trainer.keep=all"])
def test_reproduce_judges_the_best_weights_both_ways(small, tmp_path, judge, kept):
    falling = ["optim=sgd", "optim.lr=3.0", "trainer.on_overfit=observe"]
    run = run_experiment(small(CAP, kept, *falling), tmp_path).path
    assert summary(run)["best"]["step"] < summary(run)["final"]["step"]
    for level in ("verify", "full"):
        code, lines = judge(run, level)
        assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines
    change(run, "summary.json", lambda value: value["best"].update(val_loss=1.0))
    code, lines = judge(run)
    assert code == 5
    assert "best.val_loss is 1.0 in the run" in "\n".join(lines)


def test_reproduce_judges_the_last_weights_again_where_they_are_kept(both, judge):
    change(both[1], "summary.json", lambda value: value["final"].update(val_loss=1.0))
    assert judge(both[1])[0] == 5


def test_best_weights_without_a_finite_loss_over_all_targets_end_the_run(
    small, tmp_path, monkeypatch
):
    row = Evaluator.row

    def spoiled(self, cap=None):
        found = row(self, cap)
        return found if cap else {**found, "val/loss": math.inf}

    monkeypatch.setattr(Evaluator, "row", spoiled)
    outcome = run_experiment(small(CAP), tmp_path)
    assert (outcome.state, outcome.exit_code) == ("diverged", 3)
    assert "none that is finite over all targets" in outcome.error


# Beside exact ones


def test_a_table_marks_the_capped_and_says_what_that_concerns(both, gptexp):
    for arguments in ([], ["--by", "trainer.eval_tokens"]):
        shown = gptexp("table", *both, *arguments).out.splitlines()
        assert only([line for line in shown if "capped" in line and "40  " in line])
        note = only([line for line in shown if line.startswith("capped: ")])
        assert "judge 40 validation targets, in 1 of 2 runs" in note
    assert "capped" not in gptexp("table", both[0]).out


def test_a_table_marks_a_capped_run_that_is_not_done(small, tmp_path, gptexp):
    stop_before_step(small(CAP), tmp_path, 6)
    assert only([line for line in gptexp("table", tmp_path).out.splitlines() if "  capped" in line])


def test_diff_compares_the_training_alone(both, gptexp):
    shown = gptexp("diff", *both).out
    assert "losses  the same: 4 values at the same steps" in shown
    assert "evaluations are not compared: a's judge all validation targets, b's 40" in shown


def test_diff_of_two_runs_with_one_cap_compares_their_evaluations(small, both, tmp_path, gptexp):
    other = run_experiment(small(CAP, "seed=1"), tmp_path / "other").path
    shown = gptexp("diff", both[1], other).out
    assert "losses  part at step 0" in shown
    assert "not compared" not in shown


def test_diff_of_folders_says_which_are_capped(both, gptexp):
    shown = gptexp("diff", both[0].parent, both[1].parent).out
    assert "capped: evaluations in training judge 40 validation targets, in 1 of 2 runs" in shown


def test_the_last_entry_of_a_capped_run_is_that_of_the_best_weights(both):
    """What a checkpoint says of the best step is what the summary says."""
    entry = json.loads((both[1] / "checkpoints" / LAST).read_text())
    assert entry["best_step"] == summary(both[1])["best"]["step"]
