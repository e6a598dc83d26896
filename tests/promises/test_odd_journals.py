"""I2, I6: journals that somebody else wrote into, or that are no files: each verb says what is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interruptions import Small, left, only_run, stop_before_step, uninterrupted
from small_runs import summary

from gptexp import load
from gptexp.errors import StorageError
from gptexp.experiment.run import run_experiment

FOREIGN = [
    "hello",
    '{"step": 3, "val/',
    '{"step": [3], "val/loss": 1.0}',
    '{"step": 1000000000000000000000000000000, "val/loss": 1.0, "train/eval_loss": 1.0}',
    '{"step": 3, "tokens": 96, "epoch": 0.1, "val/loss": [1], "train/eval_loss": 1.0}',
    '{"step": 3, "tokens": 96, "epoch": 0.1, "val/loss": Infinity, "train/eval_loss": 1e999}',
    '{"step": 3, "tokens": "many", "epoch": {}, "val/loss": 0.1, "train/eval_loss": 0.1}',
    '{"step": 0, "tokens": 0, "epoch": 0, "val/loss": 0.1, "train/eval_loss": 0.1}',
    '{"step": 3, "val/loss": "0.1", "train/eval_loss": 0.1}',
    '{"step": 3, "train/loss": ' + "[" * 100_000,
    '{"step": 3, "train/loss": ' + "[" * 100_000 + "]" * 100_000 + "}",
]


def spoil(run: Path) -> None:
    """Foreign lines in the middle of both journals, and behind them."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        whole = (run / name).read_text().splitlines()
        spoiled = [*whole[:2], *FOREIGN, *whole[2:], FOREIGN[-1], FOREIGN[0]]
        (run / name).write_text("".join(line + "\n" for line in spoiled))


def test_I6_foreign_lines_change_nothing_that_is_read(
    finished: Path, tmp_path: Path, gptexp: Any
) -> None:
    expected = load(finished).metrics
    other = tmp_path / "outputs/other" / finished.name
    shutil.copytree(finished, other)
    spoil(other)
    assert load(other).metrics == expected
    shown = gptexp("diff", finished, other)
    count = len(FOREIGN) + 2
    assert (shown.code, shown.err) == (0, "")
    assert "losses  the same" in shown.out
    assert f"{other / 'metrics.jsonl'}: {count} damaged lines left out" in shown.out
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    said = [
        gptexp("plot", run, "--to", to).err
        for run, to in zip((finished, other), pictures, strict=True)
    ]
    assert said[0] == "" and "metrics.jsonl: " in said[1] and "damaged lines left out" in said[1]
    assert gptexp("report", other.parent).code == 0
    page = (other.parent / "report/index.html").read_text()
    assert "damaged lines left out" in page
    exported = gptexp("export", other, "--to", "tensorboard")
    assert exported.code == 0 and "damaged lines left out" in exported.err


@pytest.mark.parametrize("step", [3, 7, 11])
def test_I6_a_run_goes_on_over_foreign_lines_to_the_same_end(
    small: Small, tmp_path: Path, step: int
) -> None:
    config = small()
    straight = uninterrupted(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "stopped", step)
    run = only_run(config, tmp_path / "stopped")
    spoil(run)
    outcome = run_experiment(config, tmp_path / "stopped")
    assert outcome.state == "done", outcome
    assert summary(run) == straight[0]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


SPECIAL = pytest.mark.parametrize("make", [fifo, folder, zeros])


def remove(path: Path) -> None:
    """As the words say that it is to be done."""
    path.rmdir() if path.is_dir() else path.unlink()


def replaced(run: Path, make: Callable[[Path], None]) -> None:
    for name in ("metrics.jsonl", "samples.jsonl"):
        (run / name).unlink()
        make(run / name)


@SPECIAL
def test_I2_verbs_that_need_curves_refuse_what_is_no_file(
    finished: Path, tmp_path: Path, gptexp: Any, make: Any
) -> None:
    replaced(finished, make)
    words = f"{finished / 'metrics.jsonl'}: not a regular file. Fix: remove it"
    for arguments in (
        ("diff", finished, finished),
        ("export", finished, "--to", "tensorboard"),
    ):
        result = gptexp(*arguments)
        assert (result.code, result.errors) == (4, [words])
    drawn = gptexp("plot", finished, "--to", tmp_path / "a.png")
    assert drawn.code == 2 and words in drawn.err
    assert gptexp("report", finished.parent).code == 0
    assert "not a regular file" in (finished.parent / "report/index.html").read_text()
    with pytest.raises(StorageError, match="not a regular file"):
        _ = load(finished).metrics
    remove(finished / "metrics.jsonl")
    assert "none holds an evaluation" in gptexp("plot", finished).err


@SPECIAL
def test_I2_verbs_that_need_no_curves_never_look(
    finished: Path, gptexp: Any, make: Any, small: Small
) -> None:
    replaced(finished, make)
    for arguments in (("table", finished), ("sample", finished, "--tokens", "4")):
        assert gptexp(*arguments).code == 0
    assert load(finished).sample("to", tokens=3)


@SPECIAL
def test_I2_a_run_that_goes_on_refuses_what_is_no_file(
    small: Small, tmp_path: Path, make: Any
) -> None:
    config = small()
    stop_before_step(config, tmp_path / "stopped", 7)
    run = only_run(config, tmp_path / "stopped")
    replaced(run, make)
    outcome = run_experiment(config, tmp_path / "stopped")
    assert outcome.exit_code == 4
    assert "metrics.jsonl: not a regular file. Fix: remove it" in outcome.error
    for name in ("metrics.jsonl", "samples.jsonl"):
        remove(run / name)
    assert run_experiment(config, tmp_path / "stopped").state == "done", "the fix works"
    assert left(run)[0]["final"] == uninterrupted(config, tmp_path / "straight")[0]["final"]


def test_a_run_whose_evaluations_are_gone_at_its_end_says_so(small: Small, tmp_path: Path) -> None:
    config = small("trainer.keep=all")
    run = run_experiment(config, tmp_path).path
    assert run is not None
    (run / "summary.json").unlink()
    (run / "metrics.jsonl").write_text('{"step": 9, "train/loss": 2.0}\n')
    outcome = run_experiment(config, tmp_path)
    assert outcome.exit_code == 4
    assert "metrics.jsonl: holds no evaluation any more. Fix: train the run anew" in outcome.error
    config.rerun = True
    assert run_experiment(config, tmp_path).state == "done"
