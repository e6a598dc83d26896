"""A config to plain values and back: dicts, JSON, YAML."""

import dataclasses
import json
from typing import Any

import pytest
import yaml
from config_keys import VARIANT_CHOICES, leaves
from small_runs import SHIPPED, only, problem_lines, put

from gptexp.config import (
    Config,
    DataConfig,
    from_dict,
    from_overrides,
    from_yaml,
    to_dict,
    to_yaml,
)
from gptexp.config.schema import VARIANTS
from gptexp.errors import ConfigError


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
        if key.partition(".")[0] not in VARIANTS or not key.endswith((".name", ".kind")):
            put(config, key, new)
    config.optim.lr, config.optim.eps, config.trainer.min_delta = 1e-20, 1e-8, 0.1
    assert config != composed()
    assert from_dict(to_dict(config)).plugins == [], "a stored config brings no code to run"
    config.plugins = []
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
    line = only(problem_lines(caught.value))
    assert named in line
    assert "Fix: " in line


@pytest.mark.parametrize("damage", [lambda v: v.pop("optim"), lambda v: v["model"].pop("n_layer")])
def test_a_stored_config_with_a_part_missing_is_refused(composed, damage):
    values = to_dict(composed())
    damage(values)
    with pytest.raises(ConfigError, match=r"optim|n_layer"):
        from_dict(values)


@pytest.mark.parametrize(
    "line",
    [
        "name: !!python/object/apply:pathlib.Path.touch [MARKER]",
        "name: !!python/object/apply:os.system ['touch MARKER']",
        "callbacks: {_target_: os.system, command: 'touch MARKER'}",
        "hydra: {job: {chdir: true}}",
    ],
)
def test_P3_a_stored_config_runs_no_code_and_names_none(small, tmp_path, line):
    stored = to_yaml(small()).replace("name: default\n", "")
    line = line.replace("MARKER", str(tmp_path / "executed"))
    with pytest.raises(ConfigError):
        from_yaml(f"{line}\n{stored if line.startswith('name') else to_yaml(small())}")
    assert not (tmp_path / "executed").exists()


def test_every_key_is_given_a_value_by_a_file_and_none_by_a_dataclass():
    """Values live in conf/; a dataclass default is for a key that was added later."""
    classes = [Config, DataConfig]
    classes += [node for variants in VARIANTS.values() for node in variants.values()]
    fields = [field for node in classes for field in dataclasses.fields(node)]
    later = {"kind", "scale_residuals", "documents", "shuffle", "extend", "branch_from"}
    later |= {"zero_init", "rope_base", "n_kv_head", "qk_norm", "mlp_width", "norm_eps"}
    later |= {"cautious_decay", "decay_schedule", "decay_timescale", "scaling", "base_width"}
    later |= {"ema", "average_last", "sampling", "tokens", "vocab_size", "val_tokens", "chat"}
    later |= {"mask_documents"}
    assert {f.name for f in fields if f.default is not dataclasses.MISSING} == later


def test_from_yaml_is_the_inverse_of_to_yaml_and_refuses_the_rest(small):
    assert from_yaml(to_yaml(small())) == small()
    with pytest.raises(ConfigError, match=r"model\.n_embdd: no such key"):
        from_yaml(to_yaml(small()).replace("n_embd:", "n_embdd:"))


@pytest.mark.parametrize("key", ["model.window", "plugins", "logger.tags"])
@pytest.mark.parametrize("value", ["${seed}", "${oc.deprecated:seed}"])
def test_an_interpolation_puts_nothing_else_in_the_place_of_a_list(key, value):
    with pytest.raises(ConfigError, match=f"{key}: .*is no list of .*Fix: '{key}="):
        from_overrides([f"{key}={value}"])
