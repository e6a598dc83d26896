"""The benchmarks run, and compare what can be compared; their numbers need a quiet machine."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import ROOT

from benchmarks import (
    growth,
    journals,
    kept,
    largest,
    microgpt,
    processes,
    products,
    recipes,
    runs,
    sides,
    speed,
    sweep,
    switches,
    whole,
)
from benchmarks.growth import Point
from benchmarks.table import Row
from gptexp.config import GPTConfig, from_overrides
from gptexp.models.counts import flops_per_token, total_parameters, training_memory
from gptexp.runtime.device import Runtime

MODEL = ["model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=8"]


NANOGPT = """
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        print("number of parameters: some")
        layers, width = config.n_layer, config.n_embd
        self.table = nn.Parameter(torch.ones(config.vocab_size, width))
        others = config.block_size * width + layers * (12 * width**2 + 2 * width) + width
        self.others = nn.Parameter(torch.ones(others))

    def forward(self, ids, targets):
        logits = self.table[ids] @ self.table.T
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        return torch.optim.AdamW(self.parameters(), learning_rate, betas)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `--nanogpt` takes: a model.py of as many parameters, which looks no token up but one."""
    folder = tmp_path / "nanogpt"
    folder.mkdir()
    (folder / "model.py").write_text(NANOGPT)
    return folder


@pytest.fixture
def table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text_file: Path
) -> Callable[..., dict[str, str]]:
    """`table("--parts", "step")`: the lines of a quick run by what they measure."""

    def call(*words: str) -> dict[str, str]:
        overrides = [*MODEL, "data=text", f"data.path={text_file}", "--settings", "laptop"]
        kept_in = ["--json", str(tmp_path / "speed.jsonl")]
        speed.main([*overrides, "--quick", "--device", "cpu", *kept_in, *words])
        header, *rows, machine = capsys.readouterr().out.splitlines()
        assert header.startswith("what ")
        assert f"torch {torch.__version__}, on cpu, float32; commit " in machine
        return {row[:46].strip(): row[46:] for row in rows}

    return call


@pytest.mark.slow
def test_a_step_is_set_beside_its_products_a_plain_loop_and_nanogpt(
    table: Any, checkout: Path
) -> None:
    rows = table("--parts", "step", "--threads", "1", "--nanogpt", str(checkout))
    assert "--- laptop, 1 thread: step" in rows
    for side in ("trainer", "textbook loop", "nanoGPT", "its matrix products"):
        assert rows[f"a step: {side}"].split()[1] == "ms"
    for ratio in ("a step / its matrix products", "faster than nanoGPT, times"):
        assert float(rows[ratio].split()[0]) > 0


def test_a_step_is_measured_without_nanogpt_too(table: Any) -> None:
    rows = table("--parts", "step", "overhead")
    assert "a step: trainer" in rows and "a step: nanoGPT" not in rows
    for logger in ("none", "tensorboard"):
        assert "at most 200 us" in rows[f"overhead a step, logger={logger}"]


def test_sampling_is_measured_with_the_cache_and_without(table: Any) -> None:
    rows = table("--parts", "sample")
    assert "--- laptop, 1 thread: sample" in rows
    for kind in ("1 text of 8", "16 texts of 8"):
        for side in ("cached", "uncached"):
            assert rows[f"{kind}, {side}"].split()[1] == "tokens/s"
        assert float(rows[f"{kind}: the cache, times"].split()[0]) > 0


def test_what_is_no_checkout_of_nanogpt_is_refused_in_a_line(table: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no model.py"):
        table("--nanogpt", str(tmp_path))


def test_the_floor_multiplies_what_the_model_counts() -> None:
    cfg = from_overrides(["model=small"]).model
    assert isinstance(cfg, GPTConfig)
    multiplied = sum(6 * rows * columns for rows, columns in products.shapes(cfg, 65))
    attention = 12 * cfg.n_layer * cfg.n_embd * cfg.block_size
    assert multiplied + attention == flops_per_token(cfg, 65)
    floor = products.Products(cfg, 65, 1, torch.device("cpu"), torch.float32)
    weights = dict.fromkeys(products.shapes(cfg, 65))
    assert floor.gradients.keys() == weights.keys()
    floor.run(1)
    gradient = floor.gradients[256, 256]
    assert torch.equal(gradient, floor.activations[256].T @ floor.activations[256])


def test_a_whole_run_is_the_sum_of_its_pieces() -> None:
    pieces = {"step": [1.0, 2.0], "evaluation": [10.0, 0.0], "save": [100.0, 0.0]}
    pieces["start and end"] = [1000.0, 0.0]
    cadence = from_overrides(["trainer.max_steps=20", "trainer.eval_interval=5"]).trainer
    assert whole.total(pieces, cadence, "trainer") == [1000 + 20 + 5 * 110, 40]
    assert whole.total(pieces, cadence, "nanoGPT") == [1000 + 20 + 50 + 400, 40]


def test_turns_go_back_and_forth() -> None:
    order: list[str] = []
    work = {name: partial(order.append, name) for name in "abc"}
    took = sides.turns(work, 2, Runtime(torch.device("cpu"), torch.float32))
    assert "".join(order) == "abccba"
    assert [len(seconds) for seconds in took.values()] == [2, 2, 2]


def test_results_are_kept_by_commit_and_shown_beside_the_next(tmp_path: Path) -> None:
    file = tmp_path / "speed.jsonl"
    facts = {**dict.fromkeys(kept.SAME, "this"), "commit": "1111111aaa", "dirty": False}
    fast, slow, seconds = Row("ratio", [1.0, 2.0]), Row("ratio", [3.0]), Row("step", [1.0], "ms")
    faster = Row("faster", [3.0], more=True)
    kept.keep(file, facts, {"laptop": [fast, seconds, faster]})
    kept.keep(file, {**facts, "cpu": "other", "commit": "2222222aaa"}, {"laptop": [slow]})
    before = kept.Before(file, {**facts, "commit": "3333333aaa"}, None)
    assert before.beside("laptop", slow) == "  1.500 at 1111111, SLOWER"
    assert before.beside("laptop", fast) == "  1.500 at 1111111"
    assert before.beside("laptop", Row("step", [3.0], "ms")) == "  1.000 at 1111111"
    assert before.beside("laptop", Row("faster", [2.0], more=True)).endswith("SLOWER")
    assert before.beside("tiny", slow) == ""
    assert kept.Before(file, facts, None).beside("laptop", slow) == ""  # of the same code
    assert kept.Before(file, {**facts, "dirty": True}, None).beside("laptop", slow)
    assert kept.Before(file, facts, "1111").beside("laptop", fast)
    with pytest.raises(SystemExit, match="has no results of it"):
        kept.Before(file, facts, "4444")


@pytest.fixture
def grown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text_file: Path
) -> Callable[..., list[str]]:
    """The words of `benchmarks.growth` for few small points, measured in `tmp_path`."""
    base = Point(1, 2, 16, context=8, rows=2)
    panels = {
        "parameters": [base, replace(base, n_embd=32)],
        "context": [base, replace(base, context=16)],
        "rows": [base, replace(base, rows=4)],
    }
    monkeypatch.setattr(growth, "PANELS", panels)

    def words(*more: str) -> list[str]:
        files = ["--json", str(tmp_path / "growth.jsonl"), "--to", str(tmp_path / "growth.png")]
        return ["data=text", f"data.path={text_file}", *files, "--seconds", "0", *more]

    return words


@pytest.mark.slow
def test_the_growth_of_a_step_is_measured_kept_and_drawn_again(
    grown: Any, tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    growth.main(grown("--rounds", "2"))
    table, picture = capsys.readouterr().out, (tmp_path / "growth.png").read_bytes()
    (tmp_path / "growth.png").unlink()
    growth.main(grown("--draw"))
    assert capsys.readouterr().out == table
    assert (tmp_path / "growth.png").read_bytes() == picture
    assert re.search(r"^rows +\d,\d{3} +8 +4 +\d", table, re.MULTILINE)
    found = growth.read_last(tmp_path / "growth.jsonl")
    assert found["threads"] == 1 and found["torch"] == torch.__version__
    base = growth.PANELS["rows"][0]
    of_base = [row for row in found["rows"] if Point(*(row[f.name] for f in fields(base))) == base]
    assert [row.pop("panel") for row in of_base] == list(growth.PANELS)
    row = of_base[0]
    assert of_base == [row] * 3
    sizes = from_overrides(base.overrides).model, len(set(text_file.read_text()))
    assert row["flops"] == 2 * 8 * flops_per_token(*sizes)
    assert row["parameters"] == total_parameters(*sizes)
    assert row["runs"] == 2 and row["low"] <= row["median"] <= row["high"]


@pytest.mark.slow
def test_a_quick_look_at_growth_is_not_kept(grown: Any, tmp_path: Path) -> None:
    growth.main(grown("--quick"))
    assert not list(tmp_path.glob("growth.*"))
    with pytest.raises(SystemExit, match="has no results"):
        growth.main(grown("--draw"))


def test_the_line_of_a_figure_of_growth_is_its_flops_over_the_matrix_rate() -> None:
    live = growth.Live(None, 2, parameters=5000, flops=10**9)  # type: ignore[arg-type]
    row = growth.row(growth.BASE, live, turns=[0.04, 0.08, 0.2], rates=[1e11, 1e11, 5e10])
    assert (row["median"], row["low"], row["high"]) == pytest.approx((40, 20, 100))
    assert row["predicted"] == pytest.approx(10)  # milliseconds
    assert row["times"]["median"] == pytest.approx(4)
    rows = [{**row, "panel": name} for name in growth.PANELS]
    panels = growth.draw(rows).axes
    assert len(panels) == 3
    for axes in panels:
        assert axes.get_xscale() == axes.get_yscale() == "log"
        line = next(line for line in axes.lines if line.get_label() == growth.PREDICTED)
        assert line.get_ydata() == pytest.approx([10])


def test_the_largest_models_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "\n".join(largest.table([])) in page


def test_the_largest_model_fits_and_one_layer_more_does_not() -> None:
    cfg = from_overrides(["model.dropout=0.2"]).model
    assert isinstance(cfg, GPTConfig)
    found = largest.largest(cfg, 12, "cpu", 2**32)
    assert found is not None and found.n_embd == 64 * found.n_layer
    deeper = replace(found, n_layer=found.n_layer + 1, n_embd=found.n_embd + 64)
    deeper = replace(deeper, n_head=deeper.n_layer)
    runtime = Runtime(torch.device("cpu"), torch.float32)
    assert training_memory(found, 65, 12, runtime) <= 2**32
    assert training_memory(deeper, 65, 12, runtime) > 2**32
    assert largest.largest(cfg, 12, "cpu", 1000) is None
    with pytest.raises(SystemExit, match="has no layers"):
        largest.main(["model=mlp"])


@pytest.mark.slow
def test_fresh_processes_answer(table: Any) -> None:
    rows = table("--parts", "config", "start")
    assert "at most 0.5 s" in rows["python run.py --cfg job"]
    for what in ("forecast", "evaluation", "save"):
        assert rows[f"of it {what} at step 0"].split()[1] == "s"
    assert "at most 0.4 s" in rows["rest, without torch, forecast, evaluation"]


@pytest.mark.slow
def test_a_whole_run_is_measured(table: Any, checkout: Path) -> None:
    rows = table("--parts", "whole", "--nanogpt", str(checkout))
    for side in ("trainer", "nanoGPT"):
        for piece in ("step", "evaluation", "save", "start and end", "whole run of 2,000 steps"):
            assert rows[f"{piece}: {side}"].split()[1] == "s"
    assert "whole run: trainer / nanoGPT" in rows


@pytest.mark.slow
def test_a_grid_is_measured(table: Any) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    rows = table("--parts", "sweep", "--grids", "laptop")
    assert rows["laptop, 2 steps: one by one, one thread"].split()[1] == "runs/h"


@pytest.mark.slow
def test_memory_is_that_of_a_fresh_process(tmp_path: Path, text_file: Path) -> None:
    overrides = [*MODEL, "data=text", f"data.path={text_file}", "trainer.device=cpu"]
    for side in ("textbook", "trainer"):
        peak = processes.child(["memory", side, "2", *overrides], tmp_path / side)
        assert 50 < peak["process"] < 5000  # megabytes
    assert peak["training"] < 50
    assert 0 < peak["estimate"] < 1


def test_both_sides_train_the_same_model_on_the_same_tokens(
    tmp_path: Path, text_file: Path
) -> None:
    overrides = [*MODEL, "data=text", f"data.path={text_file}", "trainer.device=cpu"]
    config = sides.settings([*overrides, "logger=none"])
    inputs = sides.read(config)
    with sides.both(config, inputs, tmp_path) as (ours, theirs):
        tokens = ours.parts.corpus.tokens["train"]
        assert torch.equal(tokens.long(), theirs.tokens)
        before = [p.clone() for p in theirs.model.parameters()]
        for mine, yours in zip(ours.parts.model.parameters(), before, strict=True):
            assert torch.equal(mine, yours)
        sides.steps_of({"ours": ours, "theirs": theirs}, 2, 2, inputs.runtime)
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


@pytest.mark.slow
def test_a_recipe_is_set_beside_another_by_the_time_to_its_loss(
    capsys: pytest.CaptureFixture[str], text_file: Path
) -> None:
    text = ["data=text", f"data.path={text_file}", "schedule.warmup_steps=1"]
    small = [*MODEL, *text, "trainer.max_steps=5", "trainer.batch_size=2"]
    slow = ["experiment=nanogpt_laptop", *small, "optim.lr=1e-9"]
    often = ["--every", "2"]
    recipes.main(["--fast", "experiment=fast_laptop", *small, "--slow", *slow, *often])
    said = capsys.readouterr().out
    assert re.search(r"seed 0, fast: \d\.\d{4} after 5 steps", said)
    assert re.search(r"the fast one comes to \d\.\d{4} by step 2", said)
    recipes.main(["--fast", *slow, "--slow", "experiment=fast_laptop", *small, *often])
    assert "the fast one does not come to" in capsys.readouterr().out


@pytest.mark.slow
def test_a_step_with_each_switch_is_set_beside_one_without(
    capsys: pytest.CaptureFixture[str], text_file: Path
) -> None:
    small = [*MODEL, "model.n_layer=2", "data=text", f"data.path={text_file}"]
    switches.main([*small, "--settings", "laptop", "--rounds", "1", "--seconds", "0"])
    said = capsys.readouterr().out
    assert all(f"laptop: {name}" in said for name in switches.SWITCHES if name != switches.PLAIN)
