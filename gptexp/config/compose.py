"""Between Hydra and the typed Config: schemas in, dataclasses out, errors in one line."""

import dataclasses
import difflib
import re
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gptexp.config.schema import SINGLE, VARIANTS, Config
from gptexp.errors import ConfigError

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"


def register() -> None:
    """Put the dataclasses where the YAML files' defaults lists find them: `/schema/...`."""
    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    for group, node in SINGLE.items():
        store.store(group="schema", name=group, node=node)
    for group, variants in VARIANTS.items():
        for name, node in variants.items():
            store.store(group=f"schema/{group}", name=name, node=node)


def typed(cfg: DictConfig) -> Config:
    """The composed config as dataclasses; raises ConfigError. After this, no DictConfig is seen."""
    try:
        config = OmegaConf.to_object(cfg)
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        # AttributeError: `+model.typo=1` gets past composition and meets the dataclass's slots.
        raise ConfigError(explain(error)) from error
    if not isinstance(config, Config):
        raise ConfigError("config: the schema is missing. Fix: keep '/schema/config@_global_'")
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain dicts, strings and numbers, for JSON, YAML and checkpoints."""
    values: dict[str, Any] = _plain(dataclasses.asdict(config))
    return values


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of to_dict, checked against the types; raises ConfigError.

    A key that is missing takes the dataclass's default, where it has one.
    """
    try:
        schema = OmegaConf.structured(Config)
        for group, node in SINGLE.items():
            schema[group] = OmegaConf.structured(node)
        for group, variants in VARIANTS.items():
            schema[group] = OmegaConf.structured(variants[values[group]["name"]])
        merged = OmegaConf.merge(schema, values)
    except (OmegaConfBaseException, KeyError, TypeError) as error:
        raise ConfigError(f"stored config: {_first_line(error)}. Fix: train it anew") from error
    assert isinstance(merged, DictConfig)
    return typed(merged)


def override_problems(arguments: list[str]) -> list[str]:
    """What is wrong with the command line that Hydra would pass over in silence."""
    return [*_duplicates(arguments), *_missing_recipe(arguments)]


def _duplicates(arguments: list[str]) -> list[str]:
    seen: dict[str, str] = {}
    found = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.lstrip("+~")
        if not equals or key.startswith("-"):
            continue
        if key in seen and not key.startswith("hydra."):
            found.append(f"{key}: given twice, as {seen[key]} and {value}. Fix: keep one of them")
        seen[key] = value
    return found


def _missing_recipe(arguments: list[str]) -> list[str]:
    """The recipe is optional in the defaults list, so Hydra skips one that is not there."""
    for argument in arguments:
        if argument.startswith("recipe="):
            names = argument.removeprefix("recipe=").split(",")
            known = sorted(path.stem for path in (CONF_DIR / "recipe").glob("*.yaml"))
            unknown = [name for name in names if name not in [*known, "null"]]
            if unknown:
                return [_no_such_choice("recipe", unknown[0], known)]
    return []


def explain(error: BaseException) -> str:
    """One line for an exception of Hydra, OmegaConf or YAML: key, what is wrong, fix."""
    causes = _chain(error)
    for cause in causes:
        if isinstance(cause, yaml.MarkedYAMLError):
            return _explain_yaml(cause)
    text = "\n".join(str(cause) for cause in causes)
    if isinstance(error, MissingConfigException):
        return _explain_missing_file(str(error))
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form KEY=VALUE. Fix: quote it, as in 'KEY=\"VALUE\"'"
    if unknown := re.search(r"'(\w+)' not in '(\w+)'\s+full_key: ([\w.]+)", text):
        return _unknown_key(unknown[3], _keys_of(unknown[2]))
    if unknown := re.search(r"'(\w+)' object has no attribute '(\w+)'", text):
        section = _section_of(unknown[1])
        return _unknown_key(f"{section}{unknown[2]}", _keys_of(unknown[1]))
    key = re.search(r"full_key: ([\w.]+)", text)
    name = key[1] if key else "config"
    if isinstance(error, MissingMandatoryValue):
        return f"{name}: has no value. Fix: give one, as in {name}=..."
    first = next((_first_line(c) for c in causes if isinstance(c, OmegaConfBaseException)), "")
    return f"{name}: {first or _first_line(error)}. Fix: give a value of that type"


def is_config_error(error: BaseException) -> bool:
    """Whether `error` is a user's mistake that `explain` can word."""
    return isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError)


def _chain(error: BaseException | None) -> list[BaseException]:
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


def _sections() -> dict[str, list[type]]:
    """Group name -> its dataclasses."""
    single = {group: [node] for group, node in SINGLE.items()}
    return single | {group: list(variants.values()) for group, variants in VARIANTS.items()}


def _section_of(class_name: str) -> str:
    for group, nodes in _sections().items():
        if class_name in [node.__name__ for node in nodes]:
            return f"{group}."
    return ""


def _keys_of(class_name: str) -> list[str]:
    """Full names of the keys of the dataclass called `class_name`, or of the root."""
    for group, nodes in _sections().items():
        for node in nodes:
            if node.__name__ == class_name:
                return [f"{group}.{field.name}" for field in dataclasses.fields(node)]
    return [field.name for field in dataclasses.fields(Config)]


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}"
    return f"{key}: no such key; {hint} Fix: correct the name"


def _no_such_choice(group: str, choice: str, known: list[str]) -> str:
    near = difflib.get_close_matches(choice, known, n=1)
    fix = f"{group}={near[0]}" if near else f"choose one of {', '.join(known)}"
    return f"{group}={choice}: no such choice among {', '.join(known)}. Fix: {fix}"


def _explain_missing_file(text: str) -> str:
    found = re.search(r"Could not find '(?:(.*)/)?([^/']*)'", text)
    options = re.search(r"Available options in .*?:\n((?:\t.*\n?)*)", text)
    if not found or not found[1] or not options:
        return f"{text.partition(chr(10))[0]}. Fix: correct the name of the config file"
    return _no_such_choice(found[1], found[2], [line.strip() for line in options[1].splitlines()])


def _explain_yaml(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name}, line {mark.line + 1}" if mark else "a config file"
    return f"{where}: {error.problem or 'not YAML'}. Fix: correct that line"
