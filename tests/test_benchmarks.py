"""The benchmarks run, and compare what can be compared; their numbers need a quiet machine."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import journals, microgpt, processes, runs, sides, sweep, trainer

MODEL = ["model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=8"]


@pytest.fixture
def table(capsys: pytest.CaptureFixture[str], text_file: Path) -> Callable[..., dict[str, str]]:
    """`table("speed")`: the lines of a quick run by what they measure, over a small text."""

    def call(*parts: str) -> dict[str, str]:
        overrides = [*MODEL, "data=text", f"data.path={text_file}"]
        trainer.main([*overrides, "--quick", "--device", "cpu", "--parts", *parts])
        header, *rows, machine = capsys.readouterr().out.splitlines()
        assert header.startswith("what ")
        assert f"torch {torch.__version__}, on cpu, float32" in machine
        return {row[:46].strip(): row[46:] for row in rows}

    return call


def test_speed_and_overhead_come_as_pairs_with_their_targets(table: Any) -> None:
    rows = table("speed", "overhead")
    assert rows["speed: trainer"].split()[1] == "tokens/s"
    assert "speed: trainer / textbook, by pairs" in rows
    for logger in ("none", "tensorboard"):
        assert "at most 200 us" in rows[f"overhead a step, logger={logger}"]


@pytest.mark.slow
def test_fresh_processes_answer(table: Any) -> None:
    rows = table("config", "start")
    assert "at most 0.5 s" in rows["python run.py --cfg job"]
    for what in ("forecast", "evaluation", "save"):
        assert rows[f"of it {what} at step 0"].split()[1] == "s"
    assert "at most 0.5 s" in rows["rest, without torch, forecast, evaluation"]


@pytest.mark.slow
def test_memory_is_that_of_a_fresh_process(tmp_path: Path, text_file: Path) -> None:
    overrides = [*MODEL, "data=text", f"data.path={text_file}", "trainer.device=cpu"]
    peak = processes.child(["memory", "textbook", "2", *overrides], tmp_path / "child")
    assert 50 < peak["process"] < 5000  # megabytes


def test_both_sides_train_the_same_model_on_the_same_tokens(
    tmp_path: Path, text_file: Path
) -> None:
    overrides = [*MODEL, "data=text", f"data.path={text_file}", "trainer.device=cpu"]
    config = sides.settings([*overrides, "logger=none"])
    with sides.both(config, sides.read(config), tmp_path) as compared:
        ours, theirs = compared.trainer, compared.textbook
        tokens = ours.parts.corpus.tokens["train"]
        assert torch.equal(tokens, theirs.tokens)
        before = [p.clone() for p in theirs.model.parameters()]
        for mine, yours in zip(ours.parts.model.parameters(), before, strict=True):
            assert torch.equal(mine, yours)
        sides.pairs(compared, steps=2, count=2)
        assert ours.step == 6  # a warm-up of two, then twice two
        for model in (ours.parts.model, theirs.model):
            after = list(model.parameters())
            assert not any(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_a_table_and_a_report_of_many_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "REPEATS", 1)
    runs.main(20)
    assert re.search(r"gptexp report +\d.*; .* ms for one more", capsys.readouterr().out)


@pytest.mark.slow
def test_journals_of_some_lines_are_read_by_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # which it leaves
    monkeypatch.setattr(journals, "REPEATS", 1)
    journals.main(["200"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("metrics.jsonl of 200 lines")
    assert [row[:24].strip() for row in rows] == list(journals.VERBS)


@pytest.mark.slow
def test_a_finished_sweep_is_issued_again(capsys: pytest.CaptureFixture[str]) -> None:
    sweep.main(["--points", "3", "--runs", "1"])
    assert re.search(r"each further point +-?\d", capsys.readouterr().out)


@pytest.mark.slow
def test_microgpt_is_set_beside_the_scalar_engine(
    capsys: pytest.CaptureFixture[str], text_file: Path
) -> None:
    lines = text_file.with_name("lines.txt")
    lines.write_text("\n".join(text_file.read_text().split()))
    microgpt.main(["data=documents", f"data.path={lines}", "--quick"])
    assert re.search(r"the trainer is faster, times +\d", capsys.readouterr().out)
