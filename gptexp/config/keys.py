"""What each key of a config is: its type or values, its meaning, which choices have it.

Read from the dataclasses, where each field has its type and, behind it, its meaning.
"""

import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import EnumMeta

from gptexp.config.compose import from_overrides
from gptexp.config.identity import flat
from gptexp.config.names import choices
from gptexp.config.schema import SECTIONS, SINGLE, VARIANTS, Config
from gptexp.config.stored import to_dict
from gptexp.errors import ConfigError, Problem
from gptexp.text import nearest, plain

FIELD = re.compile(r"    (\w+): ([^=#]+?)(?: = .+?)?(?:\s+# (.+))?")  # own code may have no comment

NAMED = {"Switch": "true, false, auto"}  # types of config/ that are no enums

GROUPS = (*SECTIONS, "recipe", "experiment", "sweeps")  # each a folder of conf/

USAGE = """\
python run.py [GROUP=CHOICE ...] [KEY=VALUE ...]   trains one run
python run.py -m KEY=VALUE,VALUE ...               trains a grid; -v says all
python run.py --cfg job ...                        shows the config alone
python run.py -sc install=bash                     installs tab completion
python run.py --hydra-help                         the options of Hydra"""


@dataclass(frozen=True)
class Key:
    """One key of the config."""

    name: str  # dotted
    of: tuple[str, ...]  # the choices of its section that have it; empty where all do
    kind: str  # its type, or the values that it may have
    meaning: str


def all_keys() -> Iterator[Key]:
    """The keys in the order of the config, each section's after those that its choices share."""
    yield from _own_keys(Config, "", ())
    for section in SECTIONS:
        variants = VARIANTS.get(section) or {"": SINGLE[section]}
        bases = dict.fromkeys(base for node in variants.values() for base in reversed(node.__mro__))
        for node in (base for base in bases if dataclasses.is_dataclass(base)):
            names = tuple(name for name, variant in variants.items() if issubclass(variant, node))
            have = () if len(names) == len(variants) else names
            yield from _own_keys(node, f"{section}.", have)


def help_text() -> str:
    """What `python run.py --help` says: how to call it, the groups with their choices, the keys."""
    groups = [(group, ", ".join(choices(group))) for group in GROUPS]
    keys = [(key.name, f"{key.kind}; {key.meaning}") for key in all_keys()]
    return "\n".join(
        [
            *(USAGE, "", "GROUP=CHOICE, of the files in conf/:", *_listed(groups)),
            *("", "KEY=VALUE (gptexp config KEY says more):", *_listed(keys)),
        ]
    )


def describe(word: str | None) -> str:
    """All that is known of a key, by its name or the end of it, or of a group; or of all keys.

    Raises ConfigError for what is neither.
    """
    keys = list(all_keys())
    if word is None:
        return help_text().partition("\n\n")[2]
    if word in GROUPS:
        own = [(k.name, f"{k.kind}; {k.meaning}") for k in keys if k.name.startswith(f"{word}.")]
        return "\n".join([f"{word}={'|'.join(choices(word))}", *_listed(own)])
    matches = [key for key in keys if word in (key.name, key.name.rpartition(".")[2])]
    if not matches:
        known = [*GROUPS, *(key.name for key in keys)]
        near = nearest(word, [*known, *(name.rpartition(".")[2] for name in known)])
        fix = f"did you mean {near}?" if near else "gptexp config, without a word, lists them"
        raise ConfigError(Problem("key", f"{word!r} is no key and no group", fix))
    values = flat(to_dict(from_overrides([])))
    return "\n\n".join(_in_full(key, values) for key in matches)


def _own_keys(node: type, prefix: str, have: tuple[str, ...]) -> Iterator[Key]:
    """The fields that a dataclass declares itself."""
    fields = dataclasses.fields(node)
    types = {field.name: field.type for field in fields if field.name not in SECTIONS}
    for line in inspect.getsource(node).splitlines():
        if (field := FIELD.fullmatch(line)) and field[1] in types:
            kind = types[field[1]]
            values = [member.name for member in kind] if isinstance(kind, EnumMeta) else []
            named = NAMED.get(field[2], field[2]).replace("|", "or").replace("None", "null")
            words = ", ".join(values) or named
            yield Key(prefix + field[1], have, words, field[3] or "no comment stands behind it")


def _in_full(key: Key, values: dict[str, object]) -> str:
    """A key with its meaning, type, and the value that `python run.py` gives it."""
    rows = [("type", key.kind), ("meaning", key.meaning)]
    section = key.name.partition(".")[0]
    chosen = f"{section}.kind" if section == "model" else f"{section}.name"
    if key.of:
        rows.append(("of", ", ".join(f"{chosen}={name}" for name in key.of)))
    if key.name in values and (not key.of or values[chosen] in key.of):
        rows.append(("by default", plain(values[key.name]) or "[]"))
    return "\n".join([key.name, *_listed(rows)])


def _listed(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names and words in two columns, as wide as the terminal."""
    left = max(len(name) for name, _ in rows) + 4
    width = max(shutil.get_terminal_size().columns, left + 30)
    lines = []
    for name, words in rows:
        first, *rest = textwrap.wrap(words, width - left) or [""]
        lines += [f"  {name:<{left - 2}}{first}", *(" " * left + line for line in rest)]
    return lines
