"""A config as plain values, for files, and back: typed and checked, whoever wrote it.

OmegaConf is imported where it is used: a table of runs needs it not.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import yaml

from gptexp import plugins
from gptexp.config import retired
from gptexp.config.hydra_errors import explain
from gptexp.config.schema import OWN_SECTIONS, SECTIONS, SINGLE, VARIANTS, Config, variant
from gptexp.config.words import literal
from gptexp.errors import ConfigError, OtherCodeError, OwnCodeError, Problem
from gptexp.text import shortened

if TYPE_CHECKING:
    from omegaconf import DictConfig

STORED = "stored config"  # the subject of a problem until its owner is known


def to_dict(config: Config) -> dict[str, Any]:
    """Plain dicts, strings and numbers, for JSON, YAML and checkpoints."""
    values: dict[str, Any] = _plain(dataclasses.asdict(config))
    return values


def to_yaml(config: Config) -> str:
    """The plain values as YAML, in the order of the dataclasses."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of to_dict, checked against the types; raises ConfigError.

    A key that is missing takes the dataclass's default, where it has one. So does `plugins`: what a
    file names may come from anybody, and is never imported: where a variant needs it, OwnCodeError
    says so. So does RetiredKeyError of a key that was taken out, unless it is off.
    """
    from omegaconf.errors import OmegaConfBaseException

    modules = values.get("plugins")
    values = {key: value for key, value in values.items() if key != "plugins"}
    try:
        chosen = tuple(_node(group, values[group], modules) for group in VARIANTS)
        nodes = {**SINGLE, **dict(zip(VARIANTS, chosen, strict=True))}
        merged = _merged(chosen, retired.today(STORED, nodes, values))
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError) as error:
        cause = explain(error)
        what = f"{cause.subject}: {cause.what}"
        raise ConfigError(Problem(STORED, what, "train it anew")) from error
    except KeyError as error:
        what = f"{error.args[0]}: no such key, or no such choice"
        raise ConfigError(Problem(STORED, what, "train it anew")) from error
    return objects(merged)


def _node(group: str, section: dict[str, Any], modules: Any) -> type:
    """The dataclass of a stored section; raises KeyError, and OwnCodeError where it was own code.

    `modules` is what stands under `plugins`.
    """
    name = variant(group, section)
    names = [name for name in modules if plugins.is_module(name)] if type(modules) is list else []
    if names and group in OWN_SECTIONS and name not in VARIANTS[group]:
        listed = ",".join(names)
        what = f"{group} {shortened(str(name), 40)} is own code, which no file of a run brings in"
        fix = f"--plugins {listed}, or in Python plugins={names}, if you trust it"
        raise OwnCodeError(Problem(STORED, what, fix), modules=names)
    return VARIANTS[group][name]


def _merged(chosen: tuple[type, ...], values: dict[str, Any]) -> "DictConfig":
    """The values in the types of these variants, as OmegaConf takes them, who raises."""
    from omegaconf import DictConfig, OmegaConf

    merged = OmegaConf.merge(_schema(chosen), _literal(values))
    assert isinstance(merged, DictConfig)
    return merged


@cache
def _schema(chosen: tuple[type, ...]) -> "DictConfig":
    """The types of a config with these variants, in the order of VARIANTS."""
    from omegaconf import DictConfig, OmegaConf

    schema = OmegaConf.structured(Config)
    for group, node in SINGLE.items():
        schema[group] = OmegaConf.structured(node)
    for group, node in zip(VARIANTS, chosen, strict=True):
        schema[group] = OmegaConf.structured(node)
    assert isinstance(schema, DictConfig)
    return schema


def from_yaml(text: str) -> Config:
    """The inverse of to_yaml; raises ConfigError."""
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(Problem(STORED, str(error), "correct it")) from error
    if not isinstance(values, dict):
        raise ConfigError(Problem(STORED, "no keys and values", "restore it"))
    return from_dict(values)


def parse_yaml(text: str) -> Any:
    """Plain values from YAML of somebody else; raises ValueError, whose text is one line.

    Aliases are refused: a few lines of them can expand without end.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # absent where PyYAML is not compiled
    try:
        if "*" in text and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, loader)):
            raise ValueError("it has aliases")
        return yaml.load(text, loader)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError("not YAML") from error  # a NUL, which its own words repeat


def retyped(config: Config) -> Config:
    """A config that was filled in Python, with values of the types that its keys have.

    Raises ConfigError for what is none.
    """
    sections = {name: getattr(config, name) for name in SECTIONS}
    ConfigError.raise_for(
        Problem(name, f"{section!r} is no section", "take that of gptexp.config.from_overrides([])")
        for name, section in sections.items()
        if not dataclasses.is_dataclass(section)
    )
    modules = config.plugins
    if not isinstance(modules, list) or not all(isinstance(name, str) for name in modules):
        what = f"{modules!r} is no list of modules"
        raise ConfigError(Problem("plugins", what, "a list, as ['my_metrics']"))
    with stored_config("config", "set the key to a value of its type"):
        return dataclasses.replace(from_dict(to_dict(config)), plugins=modules)


@contextmanager
def stored_config(owner: str, fix: str) -> Iterator[None]:
    """Word what is wrong with a config that was read from a file; raises ConfigError."""
    try:
        yield
    except OtherCodeError as error:
        raise error.of(owner) from error
    except ConfigError as error:
        problem = error.problems[0]
        what = problem.what if problem.subject == STORED else f"{problem.subject}: {problem.what}"
        raise ConfigError(Problem(owner, what, fix)) from error


def _literal(value: Any) -> Any:
    """The value with its texts as they are: a stored config refers to nothing."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return literal(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


def objects(cfg: "DictConfig", words: Sequence[str] = ()) -> Config:
    """The values as dataclasses, which say whether they are of the types of their keys.

    Raises ConfigError, worded by the overrides that gave them.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_object(cfg)
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        # AttributeError: `+model.typo=1` gets past composition and meets the dataclass's slots.
        raise ConfigError(explain(error, words)) from error
    if not isinstance(config, Config):
        raise ConfigError(
            Problem("config", "the schema is missing", "keep '/schema/config@_global_'")
        )
    ConfigError.raise_for(_mistyped_lists(config))
    return config


def _mistyped_lists(config: Config) -> Iterator[Problem]:
    """What an interpolation put in the place of a list, or of an item: OmegaConf does not look."""
    for owner in ("", *SECTIONS):
        section = getattr(config, owner) if owner else config
        for name, kind in get_type_hints(type(section)).items():
            if get_origin(kind) is not list or not hasattr(section, name):
                continue
            key = f"{owner}.{name}" if owner else name
            items, (wanted,) = getattr(section, name), get_args(kind)
            if not isinstance(items, list) or any(type(item) is not wanted for item in items):
                what = f"{shortened(repr(items), 40)} is no list of {wanted.__name__}"
                yield Problem(key, what, f"'{key}=[]', or values of that type between the brackets")
