"""Several ranks train what one process would, and end together, whatever happens to one of them."""

import copy
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import Small, before, die, left, only_run
from launched import Ended, launch
from small_runs import ONE_LINE, metrics, status, weights

from gptexp.config import Parallel
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState
from gptexp.training import step, trainer
from gptexp.training.trainer import Trainer

DOUBLE = ["trainer.dtype=float64", "trainer.grad_accum=2", "model.dropout=0"]
SHARDS = ["trainer.parallel=fsdp", "trainer.grad_accum=2"]
BIGRAM = [
    *("experiment=ladder_bigram", "data=text", "data.documents=false", "logger=none"),
    *("trainer.batch_size=4", "trainer.grad_accum=2", "trainer.max_steps=8"),
]
CURVES = {"train/loss", "val/loss", "train/grad_norm"}


def check_close(run: Path, other: Path, within: float = 1e-5) -> None:
    """Both runs have the same curves, but for rounding."""
    ours, theirs = metrics(run), metrics(other)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, same in zip(ours, theirs, strict=True):
        for name in CURVES & line.keys():
            assert line[name] == pytest.approx(same[name], rel=0, abs=within), name


def test_H6_ranks_train_what_one_process_does_and_rank_0_alone_writes(
    small: Small, composed: Small, text_file: Path, tmp_path: Path
) -> None:
    config = small(*DOUBLE, "trainer.max_steps=50", "trainer.eval_interval=10")
    shards, counts = copy.deepcopy(config), composed(*BIGRAM, f"data.path={text_file}")
    shards.trainer.parallel = Parallel.fsdp

    def work(rank: int) -> int:
        trained = {"ddp": config, "again": config, "fsdp": shards, "counts": counts}
        return sum(run_experiment(c, tmp_path / name).exit_code for name, c in trained.items())

    main, other = launch(work, tmp_path / "ranks")
    assert (main.code, other) == (0, Ended(0, "", "")), main
    assert "by 2 ranks (ddp)" in main.out and "by 2 ranks (fsdp)" in main.out
    run_experiment(config, tmp_path / "one")
    run_experiment(counts, tmp_path / "one-counts")
    one, ddp, again, fsdp = (
        only_run(config, tmp_path / n) for n in ("one", "ddp", "again", "fsdp")
    )
    check_close(ddp, one)
    check_close(fsdp, one)
    assert left(ddp) == left(again)
    assert weights(only_run(counts, tmp_path / "counts")) == weights(
        only_run(counts, tmp_path / "one-counts")
    )
    environment = json.loads((fsdp / "manifest.json").read_text())["environment"]
    assert (environment["ranks"], environment["parallel"]) == (2, "fsdp")


def test_H3_H4_what_one_rank_meets_ends_all_at_the_same_step(small: Small, tmp_path: Path) -> None:
    looks = ["optim.ema=0.9", "trainer.diagnostics_interval=3"]
    config = small("trainer.grad_accum=2", "model.dropout=0.1", *looks)

    def signalled(self: Trainer) -> None:
        if self.ranks.rank == 1 and self.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    def work(rank: int) -> int:
        codes = [run_experiment(config, tmp_path / "straight").exit_code]
        with pytest.MonkeyPatch.context() as patch:
            before(Trainer, "train_step", signalled, patch)
            before(Trainer, "interrupted", lambda self, _: stops.append(self.step), patch)
            patch.setattr(trainer, "ASKED_SECONDS", 1e9)
            codes.append(run_experiment(config, tmp_path / "stopped").exit_code)
        codes.append(run_experiment(config, tmp_path / "stopped").exit_code)
        with pytest.MonkeyPatch.context() as patch:
            if rank == 1:
                spoil(patch, at=5)
            codes.append(run_experiment(config, tmp_path / "bad").exit_code)
        print(stops, codes, file=sys.stderr)
        return 0

    stops: list[int] = []
    main, other = launch(work, tmp_path / "ranks")
    said = "[8] [0, 143, 0, 3]"  # the next evaluation, before which ten steps are not over
    assert main.err.splitlines()[-1] == said, main
    assert other == Ended(0, "", f"{said}\n")
    assert "interrupted: saved at step 8 of 12" in main.err
    assert "step 6: loss nan and gradient norm nan are not both finite" in main.err
    stopped, straight = (only_run(config, tmp_path / name) for name in ("stopped", "straight"))
    assert left(stopped) == left(straight)
    assert status(only_run(config, tmp_path / "bad"))["state"] == "diverged"


def spoil(patch: pytest.MonkeyPatch, at: int) -> None:
    """Have the losses of the pass after `at` updates be no numbers."""
    original, steps = step.token_losses, itertools.count(-2)  # two passes measure the speed

    def losses(*arguments: Any) -> torch.Tensor:
        return original(*arguments) * (math.nan if next(steps) == at else 1)

    patch.setattr(step, "token_losses", losses)


def test_what_ranks_cannot_do_is_refused_by_rank_0_before_anything_is_written(
    small: Small, tmp_path: Path
) -> None:
    refused = [
        (["trainer.batch_size=4"], "trainer.batch_size=2 trainer.grad_accum=2"),
        (["trainer.batch_size=1", "trainer.grad_accum=3"], "trainer.grad_accum=4"),
        ([*SHARDS, "optim=muon"], "trainer.parallel=ddp"),
        ([*SHARDS, "optim.ema=0.9"], "trainer.parallel=ddp"),
        ([*SHARDS, "trainer.diagnostics_interval=2"], "trainer.parallel=ddp"),
        ([*SHARDS, "trainer.dtype=float16"], "trainer.dtype=bfloat16"),
        ([*SHARDS, "trainer.compile=true"], "trainer.compile=false"),
    ]
    configs = [small(*words) for words, _ in refused]

    def work(rank: int) -> int:
        codes = {run_experiment(config, tmp_path / "outputs").exit_code for config in configs}
        return max(codes) if len(codes) == 1 else 98

    main, other = launch(work, tmp_path / "ranks")
    assert (main.code, other) == (2, Ended(2, "", "")), main
    for line, (_, fix) in zip(main.err.splitlines(), refused, strict=True):
        problem = line.removeprefix("gptexp: error: ")
        assert ONE_LINE.fullmatch(problem) and f"Fix: {fix}" in problem, line
    assert not (tmp_path / "outputs").exists()


def die_at(step: int, rank: int, how: Callable[[], object]) -> Callable[[Trainer], None]:
    """What a rank does in the step after `step`."""

    def act(self: Trainer) -> None:
        if self.step == step and self.ranks.rank == rank:
            how()

    return act


@pytest.mark.slow(minutes=0.2)
@pytest.mark.parametrize(
    ("lost", "size", "how", "word"),
    [
        (1, 2, die, "its process has ended and left no word"),
        (0, 2, die, "its process has ended and left no word"),
        (2, 3, die, "its process has ended and left no word"),
        (1, 2, lambda: time.sleep(100), "not there after 2 seconds"),
        (0, 2, lambda: time.sleep(100), "not there after 2 seconds"),
    ],
)
def test_H1_H2_H5_a_rank_that_is_lost_is_named_and_the_same_command_goes_on(
    small: Small, tmp_path: Path, lost: int, size: int, how: Any, word: str
) -> None:
    config = small(f"trainer.grad_accum={size}", "trainer.rank_timeout=2", "model.dropout=0.1")

    def work(rank: int) -> int:
        before(Trainer, "train_step", die_at(5, lost, how))
        return run_experiment(config, tmp_path / "outputs").exit_code

    began = time.monotonic()
    ended = launch(work, tmp_path / "ranks", size, seconds=14)
    assert time.monotonic() - began < 40
    others = [end for rank, end in enumerate(ended) if rank != lost]
    assert {end.code for end in others} == {7}, ended
    assert ended[lost].code < 0
    [line] = others[0].err.splitlines()[-1:]
    lead = "" if lost else "rank 1: "
    assert line.startswith(f"gptexp: error: {lead}rank {lost}: {word}"), line
    assert [end.err for end in others[1:]] == [""] * (size - 2)
    run = only_run(config, tmp_path / "outputs")
    state = RunDirectory(run).state()
    assert state == (RunState.failed if lost else RunState.killed)
    assert not lost or f"rank {lost}: {word}" in status(run)["reason"]
    assert run_experiment(config, tmp_path / "outputs").exit_code == 0
    [resume] = json.loads((run / "manifest.json").read_text())["resumes"]
    assert (resume["step"], resume["differs"][:1]) == (4, [f"ranks {size} -> 1"])


@pytest.mark.slow(minutes=0.2)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_H5_any_number_of_ranks_goes_on_and_only_the_same_one_bit_for_bit(
    small: Small, tmp_path: Path, parallel: str
) -> None:
    config = small(*DOUBLE[:1], "trainer.grad_accum=6", f"trainer.parallel={parallel}")

    def work(rank: int) -> int:
        codes = [run_experiment(config, tmp_path / "straight").exit_code]
        with pytest.MonkeyPatch.context() as patch:
            stop = die_at(6, 0, lambda: os.kill(os.getpid(), signal.SIGTERM))
            before(Trainer, "train_step", stop, patch)
            codes += [run_experiment(config, tmp_path / n).exit_code for n in ("same", "other")]
        codes.append(run_experiment(config, tmp_path / "same").exit_code)
        return 0 if codes == [0, 143, 143, 0] else 98

    main, other = launch(work, tmp_path / "two")
    assert (main.code, other) == (0, Ended(0, "", "")), (main, other)
    straight, same = (only_run(config, tmp_path / name) for name in ("straight", "same"))
    assert left(same) == left(straight)
    ended = launch(
        lambda rank: run_experiment(config, tmp_path / "other").exit_code, tmp_path / "three", 3
    )
    assert [end.code for end in ended] == [0, 0, 0], ended
    assert ended[0].err.count("environment differs: ranks 2 -> 3; the rest may not be") == 1
    check_close(only_run(config, tmp_path / "other"), straight, within=0.05)
