"""A config whose values cannot work is refused before anything is created (group A)."""

import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import ONE_LINE, only, put

from gptexp import assets
from gptexp.config import Config, Dtype, Windows, problems, run_name
from gptexp.experiment import prepare as preparing
from gptexp.experiment import train
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.runtime import memory
from gptexp.runtime.device import Hardware, device_problems

NO_DATA = "0" * 64
SHAKESPEARE = assets.known("tinyshakespeare").sha256


def lines_of(config):
    return [str(problem) for problem in problems(config)]


@pytest.fixture
def refused_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """The problems that `experiment.run` shows for a config; it creates nothing."""

    def call(config: Config) -> list[str]:
        logger = logging.getLogger("gptexp")
        logger.addHandler(caplog.handler)
        caplog.clear()
        outputs = tmp_path / "outputs"
        try:
            outcome = run_experiment(config, outputs)
        finally:
            logger.removeHandler(caplog.handler)
        assert (outcome.state, outcome.exit_code) == ("refused", 2)
        assert not outputs.exists()
        lines = list(dict.fromkeys(record.getMessage() for record in caplog.records))
        assert lines
        assert outcome.error == lines[0]
        for line in lines:
            assert ONE_LINE.fullmatch(line), line
        return lines

    return call


# A3 to A8, A10, A12: ranges, relations and the machine


@pytest.mark.parametrize("heads", [3, 7, 64, 101])
@pytest.mark.parametrize("width", [1, 2, 100, 130])
def test_A3_heads_that_do_not_divide_the_width(composed, width, heads):
    if width % heads == 0:
        pytest.skip("they do")
    config = put(put(composed(), "model.n_embd", width), "model.n_head", heads)
    line = only(lines_of(config))
    what, fix = line.split("Fix: ")
    assert f"{width} " in what
    assert f"model.n_head={heads}" in what
    widths = [int(n) for n in re.findall(r"\d+", fix.split(", or ")[0])]
    below, above = width // heads * heads, width // heads * heads + heads
    assert widths == [n for n in (below, above) if n > 0]
    suggested = int(re.search(r"model\.n_head=(\d+)", fix)[1])
    assert width % suggested == 0


@pytest.mark.parametrize("block_size", [300, 5000])
def test_A4_a_block_longer_than_a_split_names_the_largest_that_fits(
    small, refused_run, text_file, block_size
):
    lines = refused_run(small(f"model.block_size={block_size}"))
    size = len(text_file.read_text())
    lengths = {"train": int(0.9 * size), "val": size - int(0.9 * size)}
    short = {name: n for name, n in lengths.items() if n <= block_size}
    assert len(lines) == len(short)
    for line, (name, length) in zip(lines, short.items(), strict=True):
        assert line.startswith(f"model.block_size: {block_size} ")
        assert f"{name} has {length:,}" in line or f"{name} has {length}" in line
        assert f"model.block_size={lengths['val'] - 1} " in line
    fits = small(f"model.block_size={lengths['val'] - 1}")
    prepare(fits, identify(fits, Path("outputs")))


NAN, INF = math.nan, math.inf
OUT_OF_RANGE = {
    "optim.lr": [-1.0, 0.0, NAN, INF],
    "optim.beta1": [-0.1, 1.0, NAN],
    "optim.beta2": [-0.1, 1.0, NAN],
    "optim.eps": [0.0, -1.0, NAN],
    "optim.weight_decay": [-0.1, NAN, INF],
    "optim.ema": [-0.1, 1.0, NAN],
    "optim.average_last": [0.0, 1.1, -0.1, NAN],
    "trainer.grad_clip": [-1.0, NAN],
    "trainer.min_delta": [-1.0, NAN],
    "trainer.sample_temperature": [-1.0, NAN],
    "schedule.final_fraction": [1.5, -0.1, NAN],
    "schedule.warmup_steps": [-1],
    "model.dropout": [1.0, -0.1, NAN],
    "model.init_std": [0.0, -1.0, INF],
    "data.fraction": [0.0, -0.5, 1.1, NAN],
    "data.val_fraction": [0.0, 1.0, -0.1, 0.95, NAN],
    "data.test_fraction": [-0.1, 0.9, 1.0, NAN],
    "seed": [-1],
    "trainer.device": ["gpu", "cuda:", "cpu:0:1", ""],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in OUT_OF_RANGE.items() for value in values]
)
def test_P6_A5_a_value_out_of_range_is_refused_with_its_key_and_value_and_a_fix_that_helps(
    composed, key, value
):
    config = put(composed(), "data.test_fraction", 0.05)
    found = ONE_LINE.fullmatch(only(lines_of(put(config, key, value))))
    assert found
    assert f"{key}={value}" in found["what"] or found["key"] == key
    assert str(value) in found["what"]
    if fix := re.match(r"([\w.]+)=([-\de.]+)\b", found["fix"]):
        put(config, fix[1], type(value)(float(fix[2])))
        assert problems(config) == []


@pytest.mark.parametrize("value", [0.0, 1.1, -0.1, NAN])
def test_A5_a_decay_over_no_part_of_the_run_or_more_than_all_is_refused(composed, value):
    config = put(composed("schedule=wsd"), "schedule.decay_fraction", value)
    line = only(lines_of(config))
    assert line.startswith(f"schedule.decay_fraction: {value} is not in (0, 1]. Fix: ")


def test_A3_documents_know_one_order_and_counts_no_average(composed):
    documents = composed("data=names")
    documents.data.sampling = Windows.epoch
    assert only(lines_of(documents)).startswith("data.sampling: epoch, and documents are taken ")
    counted = put(composed("experiment=ladder_bigram"), "optim.ema", 0.9)
    line = only(lines_of(counted))
    assert line == "optim.ema: 0.9, and a count knows no other than null. Fix: optim.ema=null"


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_A5_a_minimum_above_the_peak_is_refused_in_every_schedule_that_has_one(composed, schedule):
    config = put(composed(f"schedule={schedule}"), "schedule.final_fraction", 2.0)
    line = only(lines_of(config))
    assert line.startswith("schedule.final_fraction: 2.0 ")


def test_A5_momentum_of_one_is_refused(composed):
    config = put(composed("optim=sgd"), "optim.momentum", 1.0)
    assert only(lines_of(config)).startswith("optim.momentum: 1.0 ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.weight_decay", 0.0),
        ("optim.beta1", 0.0),
        ("trainer.grad_clip", 0.0),
        ("trainer.sample_interval", 0),
        ("trainer.diagnostics_interval", 0),
        ("trainer.sample_temperature", 0.0),
        ("schedule.final_fraction", 0.0),
        ("schedule.final_fraction", 1.0),
        ("schedule.warmup_steps", 0),
        ("optim.ema", 0.0),
        ("optim.average_last", 1.0),
        ("data.fraction", 1.0),
        ("model.n_head", 1),
    ],
)
def test_A5_the_ends_of_the_ranges_are_legal(composed, key, value):
    assert problems(put(composed(), key, value)) == []


def test_A6_a_dtype_that_the_device_lacks_is_refused(small, refused_run, monkeypatch):
    old_card = Hardware(cuda_devices=1, mps=False, bfloat16=frozenset({"cpu"}))
    monkeypatch.setattr(preparing, "probe_hardware", lambda: old_card)
    config = small("trainer.dtype=bfloat16")
    assert device_problems(config.trainer, old_card) == []
    for name in ("cuda", "cuda:0", "auto"):
        line = only(refused_run(put(config, "trainer.device", name)))
        assert line.startswith("trainer.dtype: ")
        assert "cuda" in line
        assert "bfloat16" in line
        assert "trainer.dtype=float32" in line


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_A6_mps_is_refused_what_it_lacks(small, refused_run, monkeypatch, dtype):
    machine = Hardware(cuda_devices=0, mps=True, bfloat16=frozenset({"cpu", "mps"}))
    monkeypatch.setattr(preparing, "probe_hardware", lambda: machine)
    config = small(f"trainer.dtype={dtype}")
    assert device_problems(config.trainer, machine) == []
    for name in ("mps", "auto"):
        line = only(refused_run(put(config, "trainer.device", name)))
        assert line.startswith("trainer.dtype: ") and line.endswith("Fix: trainer.dtype=float32")
        assert "mps" in line and dtype in line
    fixed = put(config, "trainer.dtype", Dtype.float32)
    assert device_problems(fixed.trainer, machine) == []


def test_A6_a_dtype_that_does_not_exist_is_answered_with_those_that_do(refused):
    line = only(refused("trainer.dtype=float8"))
    assert line.startswith("trainer.dtype: ")
    assert "float8" in line
    assert all(dtype.value in line for dtype in Dtype)


COUNTS = ["max_steps", "batch_size", "grad_accum", "eval_interval", "eval_batch_size"]
COUNTS += ["log_interval", "sample_tokens", "sample_top_k", "checkpoint_interval", "patience"]
COUNTS += ["eval_tokens"]


@pytest.mark.parametrize("value", [0, -3])
@pytest.mark.parametrize("key", COUNTS)
def test_A7_a_count_below_one_is_refused(composed, key, value):
    config = put(composed(), f"trainer.{key}", value)
    found = [line for line in lines_of(config) if not line.startswith("schedule.warmup_steps: ")]
    assert only(found).startswith(f"trainer.{key}: {value} ")


@pytest.mark.parametrize("key", ["n_layer", "n_head", "n_embd", "block_size"])
def test_A7_a_size_below_one_is_refused(composed, key):
    config = put(composed(), f"model.{key}", 0)
    assert only(lines_of(config)).startswith(f"model.{key}: 0 ")


def test_a_warm_up_of_a_config_that_no_command_gave_is_no_longer_than_the_run(composed):
    config = put(put(composed(), "schedule.warmup_steps", 50), "trainer.max_steps", 50)
    assert problems(config) == []
    line = only(lines_of(put(config, "schedule.warmup_steps", 51)))
    assert line.startswith("schedule.warmup_steps: 51 ")
    assert "trainer.max_steps=50" in line and line.endswith("Fix: schedule.warmup_steps=50")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.n_embd", "abc"),
        ("seed", "null"),
        ("model.bias", "maybe"),
        ("trainer.on_overfit", "panic"),
    ],
)
def test_A7_a_value_of_another_type_is_refused_with_its_key(refused, key, value):
    line = only(refused(f"{key}={value}"))
    assert line.startswith(f"{key}: ")
    assert value in line or value == "null"


def test_A7_all_problems_of_one_config_are_reported_together(refused):
    given = ["model.dropout=1", "optim.lr=-1", "trainer.batch_size=0", "trainer.patience=-2"]
    given += ["data.fraction=2", "name=../x", "seed=-1"]
    lines = refused(*given, "model.n_head=3")
    named = [item.partition("=")[0] for item in [*given, "model.n_embd=128"]]
    assert sorted(line.partition(":")[0] for line in lines) == sorted(named)


def test_A8_a_device_that_is_not_there_is_answered_with_those_that_are(
    small, refused_run, monkeypatch
):
    machine = Hardware(cuda_devices=2, mps=False, bfloat16=frozenset({"cpu", "cuda"}))
    monkeypatch.setattr(preparing, "probe_hardware", lambda: machine)
    config = small()
    for name in ("mps", "cuda:2"):
        line = only(refused_run(put(config, "trainer.device", name)))
        assert line.startswith(f"trainer.device: {name} ")
        assert "cuda:0, cuda:1, cpu" in line
    for name in ("cpu", "cuda", "cuda:1", "auto"):
        assert device_problems(put(config, "trainer.device", name).trainer, machine) == []


def test_A8_cuda_on_a_machine_without_it(small, refused_run, monkeypatch):
    monkeypatch.setattr(preparing, "probe_hardware", lambda: Hardware(0, False, frozenset({"cpu"})))
    line = only(refused_run(small("trainer.device=cuda")))
    assert "this machine has cpu" in line


BAD_NAMES = ["..", ".", "", "../x", "/abs", "a/b", "a\\b", "a\nb", "a\n", " a", "a b", "é", "-x"]


@pytest.mark.parametrize("value", [*BAD_NAMES, "x" * 300])
@pytest.mark.parametrize("section", ["", "model", "data"])
def test_A10_a_label_that_cannot_be_a_folder_is_refused(composed, section, value):
    key = f"{section}.name".removeprefix(".")
    line = only(lines_of(put(composed(), key, value)))
    assert line.startswith(f"{key}: ")
    assert ONE_LINE.fullmatch(line)
    assert len(line) < 200


def test_A10_the_command_refuses_it_and_creates_nothing_elsewhere(refused, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert "'../../x'" in only(refused("name=../../x"))
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "outputs"] == before


def test_A10_the_longest_labels_still_fit_one_file_name(composed):
    config = put(put(composed(), "data.fraction", 0.123456), "seed", 2**63 - 1)
    config.model.name = config.data.name = config.name = "x" * 80
    assert problems(config) == []
    assert len(run_name(config, "f" * 64)) + len(".old12") <= 255


@pytest.mark.parametrize("key", ["init_from", "data.path", "logger.project", "logger.tags"])
def test_P8_bytes_that_no_file_of_a_run_can_hold_are_refused(composed, key):
    """As of a file name that is not UTF-8, from the command line."""
    value = "caf\udce9.txt"
    config = composed("data=text", "data.path=text.txt")
    line = only(lines_of(put(config, key, [value] if key == "logger.tags" else value)))
    assert line.startswith(f"{key}: ") and r"'caf\udce9.txt'" in line
    assert ONE_LINE.fullmatch(line)


def test_the_name_of_a_part_that_no_file_of_a_run_can_hold_is_refused(composed):
    config = composed("data=mix")
    config.data.parts = {"\udcff.txt": 1.0}
    assert "data.parts: {'\\udcff.txt': 1.0} is not UTF-8" in only(lines_of(config))


def test_A12_a_model_that_cannot_fit_is_refused_with_the_estimate_and_what_there_is(
    small, refused_run, monkeypatch
):
    def refuse(*_: Any) -> None:
        raise AssertionError("a model was allocated")

    monkeypatch.setattr(train, "build_model", refuse)
    monkeypatch.setattr(memory, "available_memory", lambda device: 3_000_000_000)
    line = only(refused_run(small("model.n_embd=100000", "model.n_layer=10")))
    assert "3.0 GB" in line
    needed = float(re.search(r"at least ([\d,.]+) GB", line)[1].replace(",", ""))
    assert 16 * 12 * 100_000**2 * 10 / 1e9 < needed < 1.5 * 16 * 12 * 100_000**2 * 10 / 1e9
    assert "trainer.batch_size" in line
    assert "model.n_embd" in line


def test_A12_the_machine_is_asked_for_its_own_memory(small, refused_run):
    assert "GB" in only(refused_run(small("model.n_embd=4000000")))


def test_both_a_corpus_by_name_and_a_file_or_neither_are_refused(composed):
    assert "both" in only(lines_of(put(composed(), "data.path", "x.txt")))
    assert "neither" in only(lines_of(put(composed(), "data.asset", None)))


def test_a_variant_cannot_be_renamed(composed):
    assert only(lines_of(put(composed(), "optim.name", "sgd"))).startswith("optim.name: 'sgd' ")
