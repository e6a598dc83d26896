"""Own optimizers, models and tokenizers: variants of a section, registered outside the package."""

import contextlib
import dataclasses
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from gptexp import plugins
from gptexp.config.data import TokenizerConfig
from gptexp.config.model import ModelConfig
from gptexp.config.names import choices
from gptexp.config.optim import OptimConfig
from gptexp.config.schema import OWN_SECTIONS, VARIANTS, Config
from gptexp.config.words import kind_of, unquoted
from gptexp.errors import ConfigError, Problem

BASES = {"model": ModelConfig, "tokenizer": TokenizerConfig, "optim": OptimConfig}
PLAIN = (int, float, bool, str)
FOLDER = re.compile(r"(?:--config-dir|-cd)(?:=(.*))?", re.DOTALL)

F = TypeVar("F", bound=Callable[..., Any])


def optimizer(name: str, config: type) -> Callable[[F], F]:
    """Register a function that builds a torch.optim.Optimizer, for optim=`name`.

    It is given the config and the parameter groups of a model, which bring their weight decay.
    `config` is a dataclass derived from OptimConfig. Raises ConfigError for one that cannot be a
    section of the config, and for a name that is taken.
    """
    return _variant("optim", name, config, plugins.caller())


def model(name: str, config: type) -> Callable[[F], F]:
    """Register a subclass of gptexp.models.base.Model, for model=`name`.

    `config` is a dataclass derived from ModelConfig. Raises ConfigError as `optimizer` does.
    """
    return _variant("model", name, config, plugins.caller())


def tokenizer(name: str, config: type) -> Callable[[F], F]:
    """Register a subclass of gptexp.tokenizers.base.Tokenizer, for tokenizer=`name`.

    It has the class methods `build` and `from_dict`. `config` is a dataclass derived from
    TokenizerConfig. Raises ConfigError as `optimizer` does.
    """
    return _variant("tokenizer", name, config, plugins.caller())


def own_code(config: Config) -> dict[str, dict[str, str]]:
    """By section, the digests of the sources behind each own variant; empty where there is none."""
    by_section = {section: plugins.own(getattr(config, section)) for section in OWN_SECTIONS}
    return {name: dict(plugin.code) for name, plugin in by_section.items() if plugin is not None}


def with_its_modules(config: Config) -> Config:
    """The config with `plugins` naming the modules of all its own variants."""
    held = plugins.chosen(config.plugins)
    variants = [plugins.own(getattr(config, section)) for section in OWN_SECTIONS]
    missing = [plugin.module for plugin in variants if plugin is not None and plugin not in held]
    return dataclasses.replace(config, plugins=[*config.plugins, *dict.fromkeys(missing)])


def load_for(words: Sequence[str]) -> None:
    """Import the modules that a command line names, where its config needs them to be composed.

    That is where it chooses what conf/ does not have, or brings a folder of its own. Metrics and
    callbacks alone wait until a run is trained. Raises ConfigError.
    """
    folders = list(folders_of(words))
    if folders or any(_is_foreign(word) for word in words):
        plugins.load(list(dict.fromkeys(_modules(words, folders))))
    _register(folders)


def load_for_completion(line: str) -> None:
    """Import all modules that a line names which is not whole; what is wrong is said later."""
    words = line.split()
    with contextlib.suppress(ConfigError):
        plugins.load(list(dict.fromkeys(_modules(words, list(folders_of(words))))))
    _register(())


def _register(folders: Sequence[Path]) -> None:
    """Put the own dataclasses where Hydra finds ours, and as choices where they have no file."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    for section in OWN_SECTIONS:
        for name, node in plugins.Variants(section).items():
            values = OmegaConf.structured(node)
            values["kind" if section == "model" else "name"] = name
            if OmegaConf.is_missing(values, "name"):
                values["name"] = name
            store.store(group=f"schema/{section}", name=name, node=values)
            if not any((folder / section / f"{name}.yaml").is_file() for folder in folders):
                store.store(group=section, name=name, node=values)


def _variant(section: str, name: str, config: type, module: str) -> Callable[[F], F]:
    def add(built: F) -> F:
        if not callable(built):
            raise refused(f"{built!r} is nothing that can be called", "a function or a class")
        plugins.add(plugins.Plugin(module, section, name, built, config, code))
        kind_of.cache_clear()  # which knew none of its keys
        return built

    def refused(what: str, fix: str) -> ConfigError:
        return ConfigError(Problem("plugins", f"{section}={name} of {module}: {what}", fix))

    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise refused("no name for a choice", "letters, digits and _, as in lion")
    taken = plugins.named(section, name)
    if taken is not None and taken.module != module:
        raise refused(f"{taken.module} has one of that name", "give one of them another name")
    if taken is None and name in {*VARIANTS[section], *choices(section)}:
        raise refused("gptexp has one of that name", f"call it my_{name}")
    for what, fix in _defects(config, BASES[section]):
        raise refused(what, fix)
    code = plugins.code_of(module) if module != "__main__" else {}
    if not code:
        what = "no source file, whose digest would be part of a run's name"
        raise refused(what, "put it in a module, a .py file")
    return add


def _defects(config: Any, base: type) -> Iterator[tuple[str, str]]:
    """Why a class cannot be a section of the config, with a fix."""
    title = getattr(config, "__name__", repr(config))
    if "__dataclass_fields__" not in getattr(config, "__dict__", {}):
        yield f"{title} is no dataclass", "@dataclass(kw_only=True) above it"
        return
    if not issubclass(config, base):
        yield f"{title} is not derived from {base.__name__}", f"class {title}({base.__name__})"
        return
    try:
        kinds = get_type_hints(config)
    except Exception as error:
        yield f"the types of {title}: {error}", "types that its module imports"
        return
    for field in dataclasses.fields(config):
        field.type = kinds[field.name]  # which `from __future__ import annotations` makes a text
        if not _is_plain(field.type):
            fix = "int, float, bool, str, an Enum, one of these or None, or a list of one"
            yield f"{title}.{field.name} cannot be in a YAML file by its type", fix
            return
    try:
        from omegaconf import OmegaConf

        OmegaConf.structured(config)
    except Exception as error:
        yield f"{title}: {str(error).partition(chr(10))[0]}", "defaults of the fields' types"


def _is_plain(kind: Any) -> bool:
    """Whether a type is one that YAML, JSON and OmegaConf hold alike."""
    if get_origin(kind) in (Union, types.UnionType):
        parts = [part for part in get_args(kind) if part is not type(None)]
        return len(parts) == 1 and _is_plain(parts[0])
    if get_origin(kind) is list:
        return next(iter(get_args(kind)), None) in PLAIN
    return kind in PLAIN or (isinstance(kind, type) and issubclass(kind, Enum))


def _is_foreign(word: str) -> bool:
    """Whether a word chooses a variant that conf/ does not have."""
    section, _, value = word.partition("=")
    section = section.lstrip("+")
    return section in OWN_SECTIONS and not {*_names(value)} <= {*choices(section)}


def folders_of(words: Sequence[str]) -> Iterator[Path]:
    """The folders of own YAML files that a command line names."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if option := FOLDER.fullmatch(word):
            yield Path(os.path.expanduser(option[1] or following))  # noqa: PTH111  # as files.at_home


def _modules(words: Iterable[str], folders: Sequence[Path]) -> Iterator[str]:
    """The modules that `plugins` names, on the command line or in the files that it chooses."""
    for word in words:
        key, _, value = word.partition("=")
        key = key.lstrip("+")
        if key == "plugins":
            yield from _names(value)
        for group in (key, "recipe") if key == "model" else (key,):
            for folder in folders:
                for name in _names(value):
                    yield from _named_in(folder / group / f"{name}.yaml")


def _named_in(file: Path) -> Iterator[str]:
    """The list `plugins` of an own YAML file; what is wrong with it is Hydra's to say."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # ValueError: no date, no UTF-8
        return
    if isinstance(values, dict):
        yield from _names(str(values.get("plugins", "")))


def _names(value: str) -> list[str]:
    return re.findall(r"[\w.]+", unquoted(value))
