"""A kind of model of another program, as a table: each key of its config, and ours for the same.

One table reads a config, tells what has no place here, writes a config, and tells which of our
models the program does not have.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from enum import Enum
from functools import cached_property
from typing import Annotated, Any

import msgspec

from gptexp.config import GPTConfig, Position

Size = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]

# Keys of ours that tell how a model is trained, and nothing of what it computes.
TRAINING = {"name", "kind", "dropout", "init_std", "scale_residuals", "zero_init"}

IN_FULL = {"mlp_width": "hidden", "n_kv_head": "kv_heads"}  # ours where null stands for a number

Values = Mapping[str, Any]  # of their keys


@dataclass(frozen=True)
class Key:
    """A key of their config, and ours that says the same."""

    theirs: str
    ours: str | None = None  # of GPTConfig, or vocab_size; None where it is read alone
    kind: Any = None  # what msgspec reads there; None where it is written alone
    default: Any = msgspec.NODEFAULT  # what the program takes where the key is left out
    names: Mapping[str, Enum] | None = None  # their words for ours, the one to write first
    only: str | None = None  # why no value but the default has a place here
    written: Callable[[Any], Any] | None = None  # ours, as they write it

    def write(self, model: GPTConfig, vocab_size: int) -> Any:
        """The value of our model."""
        if self.ours == "vocab_size":
            return vocab_size
        assert self.ours is not None, "it is written"
        value = getattr(model, IN_FULL.get(self.ours, self.ours))
        if self.names is not None:
            return next(name for name, own in self.names.items() if own is value)
        return value if self.written is None else self.written(value)

    def problem(self, value: Any) -> str | None:
        """What a value that was read says that has no place here."""
        if self.names is not None and value not in self.names:
            return f"{self.theirs} is {value!r:.40}, none of {', '.join(self.names)}"
        if self.only is not None and value != self.default:
            return f"{self.theirs} is {json.dumps(value):.40}, and {self.only}"
        return None


@dataclass(frozen=True)
class Family:
    """A kind of model: what its config may say, and which of our switches all of them have."""

    name: str  # for the reader
    label: str  # of an import
    keys: Sequence[Key]
    fixed: Mapping[str, Any]  # ours that no key says
    free: frozenset[str] = frozenset()  # ours that may be otherwise, and are written alike
    more: Callable[[Values], Iterator[str]] = lambda _: iter(())  # what several have no place for
    settled: Callable[[Values], dict[str, Any]] = lambda _: {}  # ours that follow from several keys

    @cached_property
    def struct(self) -> type[msgspec.Struct]:
        """What msgspec reads a config as."""
        read = [(key.theirs, key.kind, key.default) for key in self.keys if key.kind is not None]
        return msgspec.defstruct(self.label, read, kw_only=True)

    def unknown(self, config: msgspec.Struct) -> Iterator[str]:
        """What of a config a GPT here has no switch for, a sentence each."""
        values = msgspec.structs.asdict(config)
        problems = [key.problem(values[key.theirs]) for key in self.keys if key.kind is not None]
        yield from (what for what in problems if what is not None)
        yield from self._of_heads(values)
        yield from self.more(values)

    def _of_heads(self, values: Values) -> Iterator[str]:
        theirs = {key.ours: key.theirs for key in self.keys if key.kind is not None}
        heads, width = values[theirs["n_head"]], values[theirs["n_embd"]]
        lead, of = f"{theirs['n_head']} is {heads}, ", f"{theirs['n_embd']}, {width}"
        if width % heads:
            yield f"{lead}which does not divide {of}"
        elif self.fixed["position"] is Position.rope and width // heads % 2:
            yield f"{lead}which makes parts of odd width of {of}"
        groups = values[theirs["n_kv_head"]] if "n_kv_head" in theirs else None
        if groups is not None and heads % groups:
            yield f"{theirs['n_kv_head']} is {groups}, which does not divide {heads} heads"

    def model(self, config: msgspec.Struct) -> tuple[GPTConfig, int]:
        """A config of which nothing is unknown, in this package's switches, and its vocab_size."""
        values = msgspec.structs.asdict(config)
        ours: dict[str, Any] = {
            key.ours: values[key.theirs] if key.names is None else key.names[values[key.theirs]]
            for key in self.keys
            if key.kind is not None and key.ours is not None
        }
        preset = {"name": self.label, "dropout": 0.0, "init_std": 0.02, **self.fixed}
        rows = ours.pop("vocab_size")
        return GPTConfig(**{**preset, **ours, **self.settled(values)}), rows

    def write(self, model: GPTConfig, vocab_size: int) -> dict[str, Any]:
        """The config of our model, in which nothing is lacking."""
        written = [key for key in self.keys if key.ours is not None]
        return {key.theirs: key.write(model, vocab_size) for key in written}

    def lacking(self, model: GPTConfig) -> Iterator[str]:
        """What of our model the program has no place for, a sentence each.

        A switch that is added to GPTConfig later is refused by all, unless it is at its default.
        """
        for key, full in IN_FULL.items():  # a number that null stands for is no other model
            unsaid: dict[str, Any] = {key: None}
            if getattr(plain := replace(model, **unsaid), full) == getattr(model, full):
                model = plain
        names_of = {key.ours: key.names for key in self.keys}
        for field in fields(GPTConfig):
            key, own = field.name, getattr(model, field.name)
            if (names := names_of.get(key)) is not None and own not in names.values():
                known = sorted({value.value for value in names.values()})
                yield f"model.{key} is {_typed(own)}, none of {', '.join(known)}"
            if key in TRAINING or key in self.free or key in names_of:
                continue
            factory = field.default_factory
            wanted = self.fixed.get(key, field.default if factory is MISSING else factory())
            if own != wanted:
                yield f"model.{key} is {_typed(own)}, not {_typed(wanted)}"


def _typed(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, Enum):
        value = value.value
    return value if isinstance(value, str) else json.dumps(value)
