"""The names that a command can use: the choices of each group, and the keys."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gptexp import plugins
from gptexp.config.schema import SINGLE, VARIANTS, Config

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"


def choices(group: str) -> list[str]:
    """The choices of a group, by name: the files of its folder in conf/, and own variants."""
    files = (path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    return sorted({*files, *plugins.Variants(group)})


def key_names() -> list[str]:
    """Full names of all keys, of all variants."""
    keys = (f"{section}{leaf}" for section, node in _nodes() for leaf in field_names(node))
    return list(dict.fromkeys(keys))


def section_of(class_name: str) -> str:
    """What the full names of a dataclass's keys begin with; nothing for what is no section."""
    return next((section for section, node in _nodes() if node.__name__ == class_name), "")


def keys_of(class_name: str) -> list[str]:
    """Full names of the keys of a dataclass; of the root for what is no section."""
    for section, node in _nodes():
        if node.__name__ == class_name:
            return [f"{section}{leaf}" for leaf in field_names(node)]
    return field_names(Config)


def field_names(node: type) -> list[str]:
    """The names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(node)]


def _nodes() -> Iterator[tuple[str, type]]:
    """The root and each dataclass of a section, with the section's name and a dot before it."""
    yield "", Config
    yield from ((f"{group}.", node) for group, node in SINGLE.items())
    for group, variants in VARIANTS.items():
        yield from ((f"{group}.", node) for node in variants.values())
