"""The keys and variants of a config, one by one."""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any

from gptexp.config import (
    Config,
)
from gptexp.config.schema import VARIANTS


def another(value: Any, kind: Any) -> Any:
    """Some other value of the type `kind`."""
    match value:
        case bool():
            return not value
        case Enum():
            return next(item for item in type(value) if item is not value)
        case str():
            return value + "x"
        case list():
            return [*value, 7 if kind == list[int] else "x"]
        case dict():
            return {**value, "x": 0.5}
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


PRESETS = {"model=gpt": "model=laptop"}  # whose choice is called otherwise

VARIANT_CHOICES = [
    PRESETS.get(f"{group}={name}", f"{group}={name}")
    for group, nodes in VARIANTS.items()
    for name in nodes
]
