"""Group A of the faults: a config is refused in one line, before anything is created. Hashes."""

import dataclasses
import json
import logging
import math
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, SMALL
from hydra.core.global_hydra import GlobalHydra

from gptexp import assets, experiment, preflight, runtime
from gptexp.config import (
    AdamWConfig,
    Config,
    DataConfig,
    Dtype,
    ModelConfig,
    config_hash,
    from_dict,
    problems,
    run_name,
    to_dict,
    to_yaml,
)
from gptexp.config.schema import VARIANTS
from gptexp.errors import ConfigError
from gptexp.runtime import Hardware

CONF = ROOT / "conf"
CHOICES = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "sweeps"
}
ONE_LINE = re.compile(r"(?P<key>.+?): (?P<what>.+[^.])[.?] Fix: (?P<fix>.+)")
NO_DATA = "0" * 64
SHAKESPEARE = assets.known("tinyshakespeare").sha256

# Identity of every shipped composed: the hash names the run directories that people already have.
GOLDEN = {
    "model=laptop": "7a91c4c20b61e90134df0b01c83c6ff4395e33ba",
    "model=medium": "6536766231dd6467a6594e18530497906aaff768",
    "model=small": "338333b61683fda3e32977db5dd81358970d9903",
    "model=tiny": "79e0dbe5d9e4e4ea0b4acb2f5bb00ef4c5949688",
    "experiment=nanogpt_laptop": "988eaaa7b5a3bcc84bb7aa644f2daa0b73b8289a",
    "experiment=nanogpt_shakespeare": "e786401cdd257f4291af375b850a780724ef381e",
}


class Result:
    """What a command left: exit code, output, and the errors without their prefix."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def errors(self) -> list[str]:
        """The lines of standard error, each of which must be one well-formed problem."""
        prefix = "gptexp: error: "
        lines = self.err.splitlines()
        assert all(line.startswith(prefix) for line in lines), self.err
        return [line.removeprefix(prefix) for line in lines]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """`command("model.n_embdd=3")`: `python run.py ...` in an empty folder, in this process."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    logger = logging.getLogger("gptexp")
    before = (logger.level, logger.propagate, list(logger.handlers))

    def call(*arguments: str) -> Result:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py"), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        shown = capsys.readouterr()
        return Result(int(ended.value.code or 0), shown.out, shown.err)

    yield call
    logger.level, logger.propagate, logger.handlers = before
    GlobalHydra.instance().clear()


@pytest.fixture
def refused(command: Callable[..., Result]) -> Callable[..., list[str]]:
    """`refused("seed=1", "seed=2")`: the problems that the command shows; it creates nothing."""

    def call(*arguments: str) -> list[str]:
        result = command(*arguments)
        assert result.code == 2, result.err
        assert result.errors
        for line in result.errors:
            assert ONE_LINE.fullmatch(line), line
        assert not list(Path().rglob("outputs/*"))
        return result.errors

    return call


@pytest.fixture
def refused_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """The problems that `experiment.run` shows for a config; it creates nothing."""

    def call(config: Config) -> list[str]:
        logger = logging.getLogger("gptexp")
        logger.addHandler(caplog.handler)
        caplog.clear()
        outputs = tmp_path / "outputs"
        try:
            outcome = experiment.run(config, outputs)
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


def put(config: Config, key: str, value: Any) -> Config:
    """Set one key of the typed config, as `key=value` on the command line would."""
    *sections, field = key.split(".")
    setattr(getattr(config, sections[0]) if sections else config, field, value)
    return config


def only(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    return lines[0]


# A1, A2, A9, A11: what the command line says


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("model.n_embdd=3", "model.n_embd"),
        ("optim.learning_rate=1", "optim."),
        ("sede=1", "seed"),
    ],
)
def test_A1_a_misspelt_key_is_named_with_the_nearest_real_one(refused, given, near):
    line = only(refused(given))
    assert line.startswith(f"{given.partition('=')[0]}: ")
    assert near in line.replace(given.partition("=")[0], "")


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("+model.n_embdd=3", "model.n_embd"),
        ("++model.n_embdd=3", "model.n_embd"),
        ("+sede=1", "seed"),
    ],
)
def test_A2_a_plus_before_a_misspelt_key_does_not_let_it_pass(refused, given, near):
    line = only(refused(given))
    assert line.startswith(f"{given.strip('+').partition('=')[0]}: ")
    assert re.search(rf"\b{re.escape(near)}\b", line.partition(": ")[2])


def test_A1_a_key_like_no_other_is_answered_with_the_keys_there_are(refused):
    line = only(refused("zzzzzzzz=1"))
    assert line.startswith("zzzzzzzz: ")
    assert "seed" in line


def test_A1_a_key_of_another_variant_is_answered_with_the_keys_of_this_one(refused):
    line = only(refused("optim=sgd", "optim.beta1=0.9"))
    assert line.startswith("optim.beta1: ")
    assert "optim.momentum" in line


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("optim=adm", "optim=adam"),
        ("model=meduim", "model=medium"),
        ("recipe=mediun", "recipe=medium"),
        ("recipe=tiny,smal", "recipe=small"),
        ("experiment=nanogpt_shakespear", "experiment=nanogpt_shakespeare"),
        ("tokenizer=words", "byte"),
    ],
)
def test_A1_a_choice_that_does_not_exist_is_answered_with_those_that_do(refused, given, fix):
    line = only(refused(given))
    for choice in CHOICES[given.partition("=")[0]]:
        assert choice in line
    assert fix in line.partition("Fix: ")[2]


def test_A1_a_wrong_key_refuses_a_whole_sweep(refused):
    assert "model.n_embdd" in only(refused("-m", "model.n_embdd=3", "seed=1,2"))


@pytest.mark.parametrize("given", ["model=null", "~model", "~seed", "~trainer.batch_size"])
def test_A1_what_cannot_be_left_out_is_named(refused, given):
    assert given.strip("~").partition("=")[0].rpartition(".")[2] in only(refused(given))


def test_A1_a_comma_list_without_multirun_is_answered_with_the_flag(refused):
    line = only(refused("seed=1,2"))
    assert "seed" in line
    assert re.search(r"-m\b|--multirun", line.partition("Fix: ")[2])


@pytest.mark.parametrize(
    ("arguments", "key", "values"),
    [
        (["seed=1", "seed=2"], "seed", ["1", "2"]),
        (["seed=1", "++seed=1"], "seed", ["1"]),
        (["model=tiny", "optim.lr=1", "model=small"], "model", ["tiny", "small"]),
        (["-m", "seed=1,2", "seed=3"], "seed", ["1,2", "3"]),
    ],
)
def test_A9_a_key_given_twice_is_refused_with_both_values(refused, arguments, key, values):
    line = only(refused(*arguments))
    assert line.startswith(f"{key}: given twice")
    assert all(value in line for value in values)


def test_A9_every_key_that_is_given_twice_is_reported(refused):
    assert len(refused("seed=1", "seed=2", "name=a", "name=b")) == 2


def test_A9_one_key_of_two_sections_is_not_given_twice(command):
    assert command("model.name=a", "data.name=a", "name=a", "--cfg", "job").code == 0


@pytest.mark.parametrize("bare", ["seed", "name=[a"])
def test_A11_an_argument_that_is_no_override_is_shown(refused, bare):
    assert only(refused(bare)).startswith(bare)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("name: mine\n n_layer: 3\n", 2),
        ("name: mine\nn_layer: [\n", 3),
        ("\tname: mine\n", 1),
        ("name: mine\nn_layer: 1\nn_layer: 2\n", 3),
    ],
)
def test_A11_broken_yaml_is_named_with_file_and_line(refused, tmp_path, content, line):
    shown = refused_file(refused, tmp_path, content.encode())
    assert "mine.yaml" in shown
    assert re.search(rf"line {line}\b", shown)


def test_A11_a_config_file_that_is_not_text_is_named(refused, tmp_path):
    assert "mine.yaml" in refused_file(refused, tmp_path, b"\xff\xfe bad")


@pytest.mark.parametrize("content", ["n_layr: 3\n", "n_layer: abc\n"])
def test_A11_a_wrong_key_or_type_in_a_file_is_named_with_the_file(refused, tmp_path, content):
    shown = refused_file(refused, tmp_path, f"defaults: [laptop, _self_]\n{content}".encode())
    assert "n_layer" in shown
    assert "model/mine" in shown


def refused_file(refused: Callable[..., list[str]], tmp_path: Path, content: bytes) -> str:
    """What the command says of a model file of the user's own."""
    folder = tmp_path / "own" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_bytes(content)
    return only(refused(f"--config-dir={folder.parent}", "model=mine"))


def test_A11_a_missing_config_file_is_named(refused):
    assert "nowhere" in only(refused("--config-name=nowhere"))


def test_A11_a_missing_config_folder_is_named_and_not_called_a_type(refused, tmp_path):
    line = only(refused(f"--config-dir={tmp_path / 'nowhere'}"))
    assert "nowhere" in line
    assert "type" not in line


def test_A11_a_value_that_must_be_given_is_named_with_how_to_give_it(refused):
    line = only(refused("data=text"))
    assert line.startswith("data.path: ")
    assert "data.path=" in line.partition("Fix: ")[2]


def test_A11_an_interpolation_of_nothing_is_named(refused):
    line = only(refused("model.n_layer=${nope}"))
    assert line.startswith("model.n_layer: ")
    assert "nope" in line


# A3 to A8, A10, A12: ranges, relations and the machine


@pytest.mark.parametrize("heads", [3, 7, 64, 101])
@pytest.mark.parametrize("width", [1, 2, 100, 130])
def test_A3_heads_that_do_not_divide_the_width(composed, width, heads):
    if width % heads == 0:
        pytest.skip("they do")
    config = put(put(composed(), "model.n_embd", width), "model.n_head", heads)
    line = only(problems(config))
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
    preflight.prepare(fits, preflight.identify(fits, Path("outputs")))


NAN, INF = math.nan, math.inf
OUT_OF_RANGE = {
    "optim.lr": [-1.0, 0.0, NAN, INF],
    "optim.beta1": [-0.1, 1.0, NAN],
    "optim.beta2": [-0.1, 1.0, NAN],
    "optim.eps": [0.0, -1.0, NAN],
    "optim.weight_decay": [-0.1, NAN, INF],
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
def test_A5_a_value_out_of_range_is_refused_with_its_key_and_value_and_a_fix_that_helps(
    composed, key, value
):
    config = put(composed(), "data.test_fraction", 0.05)
    found = ONE_LINE.fullmatch(only(problems(put(config, key, value))))
    assert found
    assert f"{key}={value}" in found["what"] or found["key"] == key
    assert str(value) in found["what"]
    if fix := re.match(r"([\w.]+)=([-\de.]+)\b", found["fix"]):
        put(config, fix[1], type(value)(float(fix[2])))
        assert problems(config) == []


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_A5_a_minimum_above_the_peak_is_refused_in_every_schedule_that_has_one(composed, schedule):
    config = put(composed(f"schedule={schedule}"), "schedule.final_fraction", 2.0)
    line = only(problems(config))
    assert line.startswith("schedule.final_fraction: 2.0 ")


def test_A5_momentum_of_one_is_refused(composed):
    config = put(composed("optim=sgd"), "optim.momentum", 1.0)
    assert only(problems(config)).startswith("optim.momentum: 1.0 ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.weight_decay", 0.0),
        ("optim.beta1", 0.0),
        ("trainer.grad_clip", 0.0),
        ("trainer.sample_interval", 0),
        ("trainer.sample_temperature", 0.0),
        ("schedule.final_fraction", 0.0),
        ("schedule.final_fraction", 1.0),
        ("schedule.warmup_steps", 0),
        ("data.fraction", 1.0),
        ("model.n_head", 1),
    ],
)
def test_A5_the_ends_of_the_ranges_are_legal(composed, key, value):
    assert problems(put(composed(), key, value)) == []


def test_A6_a_dtype_that_the_device_lacks_is_refused(small, refused_run, monkeypatch):
    old_card = Hardware(cuda_devices=1, mps=False, bfloat16=frozenset({"cpu"}))
    monkeypatch.setattr(runtime, "probe", lambda: old_card)
    config = small("trainer.dtype=bfloat16")
    assert runtime.problems(config.trainer, old_card) == []
    for device in ("cuda", "cuda:0", "auto"):
        line = only(refused_run(put(config, "trainer.device", device)))
        assert line.startswith("trainer.dtype: ")
        assert "cuda" in line
        assert "bfloat16" in line
        assert "trainer.dtype=float32" in line


def test_A6_a_dtype_that_does_not_exist_is_answered_with_those_that_do(refused):
    line = only(refused("trainer.dtype=float16"))
    assert line.startswith("trainer.dtype: ")
    assert "float16" in line
    assert all(dtype.value in line for dtype in Dtype)


COUNTS = ["max_steps", "batch_size", "grad_accum", "eval_interval", "eval_batch_size"]
COUNTS += ["log_interval", "sample_tokens", "sample_top_k", "checkpoint_interval", "patience"]


@pytest.mark.parametrize("value", [0, -3])
@pytest.mark.parametrize("key", COUNTS)
def test_A7_a_count_below_one_is_refused(composed, key, value):
    config = put(composed(), f"trainer.{key}", value)
    found = [line for line in problems(config) if not line.startswith("schedule.warmup_steps: ")]
    assert only(found).startswith(f"trainer.{key}: {value} ")


@pytest.mark.parametrize("key", ["n_layer", "n_head", "n_embd", "block_size"])
def test_A7_a_size_below_one_is_refused(composed, key):
    config = put(composed(), f"model.{key}", 0)
    assert only(problems(config)).startswith(f"model.{key}: 0 ")


def test_A7_a_warm_up_may_last_the_whole_run_and_no_longer(composed):
    config = put(put(composed(), "schedule.warmup_steps", 50), "trainer.max_steps", 50)
    assert problems(config) == []
    line = only(problems(put(config, "schedule.warmup_steps", 51)))
    assert line.startswith("schedule.warmup_steps: 51 ")
    assert "trainer.max_steps=50" in line


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
    given += ["schedule.warmup_steps=9000", "data.fraction=2", "name=../x", "seed=-1"]
    lines = refused(*given, "model.n_head=3")
    named = [item.partition("=")[0] for item in [*given, "model.n_embd=128"]]
    assert sorted(line.partition(":")[0] for line in lines) == sorted(named)


def test_A8_a_device_that_is_not_there_is_answered_with_those_that_are(
    small, refused_run, monkeypatch
):
    machine = Hardware(cuda_devices=2, mps=False, bfloat16=frozenset({"cpu", "cuda"}))
    monkeypatch.setattr(runtime, "probe", lambda: machine)
    config = small()
    for device in ("mps", "cuda:2"):
        line = only(refused_run(put(config, "trainer.device", device)))
        assert line.startswith(f"trainer.device: {device} ")
        assert "cuda:0, cuda:1, cpu" in line
    for device in ("cpu", "cuda", "cuda:1", "auto"):
        assert runtime.problems(put(config, "trainer.device", device).trainer, machine) == []


def test_A8_cuda_on_a_machine_without_it(small, refused_run, monkeypatch):
    monkeypatch.setattr(runtime, "probe", lambda: Hardware(0, False, frozenset({"cpu"})))
    line = only(refused_run(small("trainer.device=cuda")))
    assert "this machine has cpu" in line


BAD_NAMES = ["..", ".", "", "../x", "/abs", "a/b", "a\\b", "a\nb", "a\n", " a", "a b", "é", "-x"]


@pytest.mark.parametrize("value", [*BAD_NAMES, "x" * 300])
@pytest.mark.parametrize("section", ["", "model", "data"])
def test_A10_a_label_that_cannot_be_a_folder_is_refused(composed, section, value):
    key = f"{section}.name".removeprefix(".")
    line = only(problems(put(composed(), key, value)))
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


def test_A12_a_model_that_cannot_fit_is_refused_with_the_estimate_and_what_there_is(
    small, refused_run, monkeypatch
):
    def refuse(*_: Any) -> None:
        raise AssertionError("a model was allocated")

    monkeypatch.setattr(experiment.model, "build", refuse)
    monkeypatch.setattr(runtime, "available_memory", lambda device: 3_000_000_000)
    line = only(refused_run(small("model.n_embd=100000", "model.n_layer=10")))
    assert "3.0 GB" in line
    needed = float(re.search(r"at least ([\d,.]+) GB", line)[1].replace(",", ""))
    assert 16 * 12 * 100_000**2 * 10 / 1e9 < needed < 1.5 * 16 * 12 * 100_000**2 * 10 / 1e9
    assert "trainer.batch_size" in line
    assert "model.n_embd" in line


def test_A12_the_machine_is_asked_for_its_own_memory(small, refused_run):
    assert "GB" in only(refused_run(small("model.n_embd=4000000")))


def test_both_a_corpus_by_name_and_a_file_or_neither_are_refused(composed):
    assert "both" in only(problems(put(composed(), "data.path", "x.txt")))
    assert "neither" in only(problems(put(composed(), "data.asset", None)))


def test_a_variant_cannot_be_renamed(composed):
    assert only(problems(put(composed(), "optim.name", "sgd"))).startswith("optim.name: 'sgd' ")


# Processes: what a shell sees, and that the quick commands stay quick


def test_the_quick_commands_do_not_import_torch(tmp_path):
    """--cfg, --help, completion and a wrong key answer without torch, numpy or TensorBoard."""
    script = """
import contextlib, os, runpy, sys
heavy = {"torch", "numpy", "tensorboard", "tqdm"}
line = "python run.py model="
os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
for arguments in (["--cfg", "job"], ["--help"], ["-sc", "query=bash"], ["model.n_embdd=3"]):
    sys.argv = [sys.argv[0] if len(sys.argv) == 1 else root, *arguments]
    root = sys.argv[0] = os.environ["RUN_PY"]
    try:
        runpy.run_path(root, run_name="__main__")
    except SystemExit as ended:
        print("code", ended.code)
    assert not heavy & set(sys.modules), (arguments, heavy & set(sys.modules))
import gptexp, gptexp.config, gptexp.errors
assert not heavy & set(sys.modules), "the package"
"""
    environment = os.environ | {"RUN_PY": str(ROOT / "run.py"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("code 0") == 3
    assert done.stdout.count("code 2") == 1
    assert {f"model={name}" for name in CHOICES["model"]} <= set(done.stdout.split())
    for group, choices in CHOICES.items():
        assert f"{group}: {', '.join(choices)}" in done.stdout  # of --help


def test_a_shell_sees_exit_code_2_and_one_line_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "model.n_embdd=3"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"gptexp: error: model\.n_embdd: .+\n", done.stderr)


@pytest.mark.parametrize(
    ("typed_so_far", "offered"),
    [
        ("", {f"{group}=" for group in CHOICES} | {"model.", "trainer.", "seed="}),
        ("model.n_", {"model.n_layer=", "model.n_head=", "model.n_embd="}),
    ],
)
def test_tab_completion_offers_groups_choices_and_keys(command, monkeypatch, typed_so_far, offered):
    line = f"python run.py {typed_so_far}"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    result = command("-sc", "query=bash")
    assert result.code == 0
    assert offered <= set(result.out.split())


# What is shipped


def assert_legal(config: Config) -> None:
    assert isinstance(config, Config)
    assert problems(config) == []


@pytest.mark.parametrize("model", CHOICES["model"])
@pytest.mark.parametrize("recipe", CHOICES["recipe"])
def test_every_model_composes_with_every_recipe(composed, model, recipe):
    config = composed(f"model={model}", f"recipe={recipe}")
    assert_legal(config)
    assert config.model.name == model


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group, choices in CHOICES.items()
        for choice in choices
        if group not in ("recipe", "experiment")
    ],
)
def test_every_choice_of_every_group_composes_and_is_labelled_by_its_file(composed, group, choice):
    given = [f"{group}={choice}"] + (["data.path=x.txt"] if choice == "text" else [])
    config = composed(*given)
    assert_legal(config)
    section = getattr(config, group)
    assert getattr(section, "name", choice) == choice


@pytest.mark.parametrize("experiment_name", CHOICES["experiment"])
def test_every_experiment_composes_and_groups_its_runs_under_its_name(composed, experiment_name):
    config = composed(f"experiment={experiment_name}")
    assert_legal(config)
    assert config.name == experiment_name


@pytest.mark.parametrize("model", CHOICES["model"])
def test_a_model_brings_its_own_recipe(composed, model):
    assert model in CHOICES["recipe"]
    assert composed(f"model={model}") == composed(f"model={model}", f"recipe={model}")
    stored = yaml.safe_load((CONF / "recipe" / f"{model}.yaml").read_text())
    config = to_dict(composed(f"model={model}"))
    for section, values in stored.items():
        assert values.items() <= config[section].items()


def test_a_model_composes_without_a_recipe(composed):
    stored = yaml.safe_load((CONF / "trainer" / "default.yaml").read_text())
    config = composed("model=medium", "~recipe")
    assert_legal(config)
    assert config.trainer.batch_size == stored["batch_size"]


def test_an_override_wins_over_the_recipe_and_changes_nothing_else(composed):
    plain, changed = composed("model=medium"), composed("model=medium", "trainer.batch_size=5")
    assert changed.trainer.batch_size == 5
    changed.trainer.batch_size = plain.trainer.batch_size
    assert changed == plain


def test_claim_3_medium_with_its_recipe_is_the_workshop_s_setting(composed):
    config = composed("model=medium")
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd) == (6, 6, 384)
    assert config.trainer.batch_size * config.trainer.grad_accum * config.model.block_size == 16384
    assert config.optim == AdamWConfig(
        name="adamw", lr=1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8
    )
    assert (config.trainer.grad_clip, config.trainer.max_steps) == (1.0, 5000)
    assert (config.schedule.name, config.schedule.warmup_steps) == ("cosine", 100)
    assert config.schedule.final_fraction == 0.1
    assert config.model.dropout == 0


# Identity


SHIPPED = [f"model={name}" for name in CHOICES["model"]]
SHIPPED += [f"experiment={name}" for name in CHOICES["experiment"]]


@pytest.mark.parametrize("given", SHIPPED)
def test_golden_hash_of_what_is_shipped(composed, given):
    found = config_hash(composed(given), SHAKESPEARE)[:40]
    assert GOLDEN.get(given) == found, (
        f"The identity of {given} is now {found}. Runs and sweeps that people have on disk would "
        "not be found again and would be trained anew. If a key was added, give it a dataclass "
        "default that means the old behaviour. Change GOLDEN only for a new composed, or for a "
        "value that was meant to change, and say so in the change's description."
    )


def test_golden_hashes_are_of_presets_that_exist():
    assert sorted(GOLDEN) == sorted(SHIPPED)


def test_two_shipped_presets_are_never_one_run():
    assert len(set(GOLDEN.values())) == len(GOLDEN)


NOT_HASHED = {
    "name",
    "rerun",
    "init_from",  # counts by the checkpoint's content
    "data.path",  # counts by the file's content
    "logger.name",
    "logger.tensorboard",
    "trainer.log_interval",
    "trainer.sample_interval",
    "trainer.sample_tokens",
    "trainer.sample_temperature",
    "trainer.sample_top_k",
    "trainer.checkpoint_interval",
    "trainer.keep",
    "trainer.retry_failed",
}


def another(value: Any, kind: Any) -> Any:
    """Some other value of the type `kind`."""
    match value:
        case bool():
            return not value
        case Enum():
            return next(item for item in type(value) if item is not value)
        case str():
            return value + "x"
        case None:
            return "x" if kind == str | None else 7
    return value + 1


def leaves(config: Config) -> Iterator[tuple[str, Any, Any]]:
    """Full name, present value and another value of every key."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            for inner in dataclasses.fields(value):
                old = getattr(value, inner.name)
                yield f"{field.name}.{inner.name}", old, another(old, inner.type)
        else:
            yield field.name, value, another(value, field.type)


VARIANT_CHOICES = [f"{group}={name}" for group, nodes in VARIANTS.items() for name in nodes]


@pytest.mark.parametrize("variant", VARIANT_CHOICES)
def test_exactly_the_keys_that_can_move_a_weight_or_a_metric_are_hashed(composed, variant):
    config = composed(variant)
    before = config_hash(config, NO_DATA)
    for key, old, new in leaves(config):
        changed = config_hash(put(config, key, new), NO_DATA) != before
        assert changed == (key not in NOT_HASHED), key
        put(config, key, old)
    assert config_hash(config, NO_DATA) == before


def test_every_variant_is_another_run(composed):
    for group, variants in VARIANTS.items():
        hashes = {config_hash(composed(f"{group}={name}"), NO_DATA) for name in variants}
        assert len(hashes) == len(variants)


def test_a_device_counts_without_its_index_and_auto_is_not_cpu(composed):
    hashes = {
        device: config_hash(put(composed(), "trainer.device", device), NO_DATA)
        for device in ("auto", "cpu", "cuda", "cuda:0", "cuda:3")
    }
    assert hashes["cuda"] == hashes["cuda:0"] == hashes["cuda:3"]
    assert len(set(hashes.values())) == 3


def test_a_file_counts_by_its_content_and_not_by_its_path(small, text_file, tmp_path):
    other = tmp_path / "elsewhere.txt"
    other.write_bytes(text_file.read_bytes())
    config = small()
    original = preflight.identify(config, tmp_path)
    put(config, "data.path", str(other))
    assert preflight.identify(config, tmp_path).hash == original.hash
    other.write_bytes(text_file.read_bytes() + b"!")
    changed = preflight.identify(config, tmp_path)
    assert changed.hash != original.hash
    assert changed.directory.path != original.directory.path


def test_a_checkpoint_to_start_from_counts_by_its_content(composed):
    plain, one, two = (
        config_hash(composed(), NO_DATA, init) for init in (None, "a" * 64, "b" * 64)
    )
    assert len({plain, one, two}) == 3
    assert config_hash(put(composed(), "init_from", "elsewhere"), NO_DATA, "a" * 64) == one


@dataclasses.dataclass(kw_only=True, slots=True)
class LaterModelConfig(ModelConfig):
    """The model of a later release, which knows one more key."""

    rope_base: float = 10_000.0


def test_a_key_added_later_changes_no_hash_until_it_is_used(composed):
    config = composed()
    before = config_hash(config, NO_DATA)
    config.model = LaterModelConfig(**dataclasses.asdict(config.model))
    assert config_hash(config, NO_DATA) == before
    config.model.rope_base = 500_000.0
    assert config_hash(config, NO_DATA) != before


def test_equal_configs_have_equal_hashes_however_they_were_written(composed):
    one = composed("optim.lr=1e-3", "model=tiny", "model.dropout=0")
    two = composed("model=tiny", "optim.lr=0.001")
    assert config_hash(one, NO_DATA) == config_hash(two, NO_DATA)


@pytest.mark.parametrize(
    ("fraction", "seed", "name"),
    [
        (1.0, 0, "laptop-shakespeare-f1-s0-01234567"),
        (0.25, 7, "laptop-shakespeare-f0.25-s7-01234567"),
        (0.001, 12345, "laptop-shakespeare-f0.001-s12345-01234567"),
    ],
)
def test_a_run_directory_is_named_by_its_config(composed, fraction, seed, name):
    config = put(put(composed(), "data.fraction", fraction), "seed", seed)
    config.name = "not in it"
    assert run_name(config, "0123456789abcdef") == name


def test_a_run_directory_stands_under_the_name_of_its_group(small, tmp_path):
    config = small("name=mine")
    who = preflight.identify(config, tmp_path)
    assert who.directory.path == tmp_path / "mine" / f"laptop-text-f1-s0-{who.hash[:8]}"
    assert who.hash == config_hash(config, who.data_sha256)
    assert not who.directory.path.parent.exists()


# To plain values and back


def assert_survives(config: Config) -> None:
    assert from_dict(to_dict(config)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(yaml.safe_load(to_yaml(config))) == config


@pytest.mark.parametrize("given", [*VARIANT_CHOICES, *SHIPPED])
def test_a_config_survives_dict_json_and_yaml(composed, given):
    assert_survives(composed(given))


def test_every_key_survives_dict_json_and_yaml_with_another_value(composed):
    config = composed()
    for key, _, new in list(leaves(config)):
        if key.partition(".")[0] not in VARIANTS or not key.endswith(".name"):
            put(config, key, new)
    config.optim.lr, config.optim.eps, config.trainer.min_delta = 1e-20, 1e-8, 0.1
    assert config != composed()
    assert_survives(config)


def corrupted(config: Config, section: str, key: str, value: Any) -> dict[str, Any]:
    values = to_dict(config)
    values[section][key] = value
    return values


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("model", "n_layer", "many", "n_layer"),
        ("model", "n_layr", 3, "n_layr"),
        ("optim", "name", "lion", "lion"),
        ("trainer", "dtype", "float8", "float8"),
    ],
)
def test_a_stored_config_that_does_not_type_is_refused(composed, section, key, value, named):
    with pytest.raises(ConfigError) as caught:
        from_dict(corrupted(composed(), section, key, value))
    line = only(list(caught.value.problems))
    assert named in line
    assert "Fix: " in line


@pytest.mark.parametrize("damage", [lambda v: v.pop("optim"), lambda v: v["model"].pop("n_layer")])
def test_a_stored_config_with_a_part_missing_is_refused(composed, damage):
    values = to_dict(composed())
    damage(values)
    with pytest.raises(ConfigError, match=r"optim|n_layer"):
        from_dict(values)


def test_every_key_is_given_a_value_by_a_file_and_none_by_a_dataclass():
    """Values live in conf/; a dataclass default is for a key that was added later."""
    classes = [Config, ModelConfig, DataConfig]
    classes += [node for variants in VARIANTS.values() for node in variants.values()]
    fields = [field for node in classes for field in dataclasses.fields(node)]
    assert [f.name for f in fields if f.default is not dataclasses.MISSING] == []


def test_the_small_run_of_the_other_tests_is_legal(small):
    assert problems(small()) == []
    assert len(SMALL) == len({item.partition("=")[0] for item in SMALL})
