"""Keys that were taken out: read where they are off, refused where they are on."""

import dataclasses
import subprocess

import pytest
import torch
import yaml
from run_directories import write_run
from small_runs import ROOT, only, problem_lines

from gptexp.analysis.labels import label_keys
from gptexp.analysis.records import collect, differing, varying
from gptexp.config import (
    GPTConfig,
    config_hash,
    flat,
    from_dict,
    from_overrides,
    from_yaml,
    to_dict,
)
from gptexp.config.retired import RETIRED, without_off
from gptexp.errors import ConfigError, RetiredKeyError
from gptexp.runs.directory import RunDirectory
from gptexp.text import plain

NO_DATA = "0" * 64
ON = {"model.head_gate": True, "model.value_residual": True, "model.logit_softcap": 15.0}

every_key = pytest.mark.parametrize("key", RETIRED)


def holding(config, key, value):
    """The config as a run of before stored it."""
    values = to_dict(config)
    section, _, field = key.partition(".")
    values[section][field] = value
    return values


def test_each_retired_key_is_gone_and_has_a_value_here_that_was_on(composed):
    assert ON.keys() == RETIRED.keys()
    assert not RETIRED.keys() & flat(to_dict(composed())).keys()


@every_key
def test_a_stored_config_with_it_off_is_the_config_without_and_the_same_run(composed, key):
    config = composed()
    stored = holding(config, key, RETIRED[key].off)
    read = from_dict(stored)
    assert read == config == from_yaml(yaml.safe_dump(stored))
    assert config_hash(read, NO_DATA) == config_hash(config, NO_DATA)
    assert flat(stored) == flat(to_dict(config))


@every_key
def test_a_stored_config_with_it_on_is_refused_in_a_line_with_its_commit(composed, key, tmp_path):
    stored = holding(composed(), key, ON[key])
    with pytest.raises(RetiredKeyError) as refused:
        from_dict(stored)
    line = only(problem_lines(refused.value))
    assert line.startswith(
        f"stored config: {key} is {plain(ON[key])}, and the key was taken out, as "
    )
    assert line.endswith(f"Fix: git checkout {RETIRED[key].commit}, which has it")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError) as refused:
        RunDirectory(tmp_path).config()
    assert str(refused.value) == line.replace("stored config", str(tmp_path / "config.yaml"))
    assert flat(stored)[key] == ON[key], "a table still tells it"


@pytest.mark.parametrize("value", [0, "", [], {}, torch.zeros(2), float("nan")], ids=repr)
def test_what_is_no_value_of_it_is_refused_too(composed, value):
    with pytest.raises(RetiredKeyError, match=r"^stored config: model\.head_gate is .*Fix: git"):
        from_dict(holding(composed(), "model.head_gate", value))


@every_key
@pytest.mark.parametrize("sign", ["", "+", "~"])
def test_a_command_that_gives_it_is_told_that_it_is_gone(key, sign):
    with pytest.raises(ConfigError) as refused:
        from_overrides([f"{sign}{key}" if sign == "~" else f"{sign}{key}={ON[key]}".lower()])
    line = only(problem_lines(refused.value))
    assert line.startswith(f"{key}: was taken out, as ")
    assert line.endswith(f"Fix: leave it out, or git checkout {RETIRED[key].commit}, which has it")


def test_own_code_may_have_a_key_of_that_name():
    own = dataclasses.make_dataclass("Own", [("head_gate", bool, False)], bases=(GPTConfig,))
    values = {"head_gate": False, "value_residual": False}
    assert without_off("model", own, values) == {"head_gate": False}
    assert without_off("optim", GPTConfig, values) == values


def test_runs_with_it_on_are_told_from_those_of_before_and_after(tmp_path):
    write_run(tmp_path, model__head_gate=True)
    for seed in (0, 1):
        write_run(tmp_path, seed, model__head_gate=False)
    write_run(tmp_path, 2)
    runs, _ = collect([tmp_path])
    assert varying(runs, differing(runs)) == label_keys(runs) == ["model.head_gate", "seed"]
    others = [run for run in runs if "model.head_gate" not in run.config]
    assert len(others) == 3 and differing(others) == ["seed"]


@every_key
def test_the_commit_has_it(key):
    def git(*words):
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout

    if git("rev-parse", "--is-shallow-repository") != "false\n":
        pytest.skip("no checkout with its history")
    section, _, field = key.partition(".")
    assert f"    {field}: " in git("show", f"{RETIRED[key].commit}:gptexp/config/{section}.py")
