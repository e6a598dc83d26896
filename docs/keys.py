"""Write the table of all keys into docs/configuration.md: `python docs/keys.py`.

It is made from the dataclasses of gptexp/config, where each key has its type and its meaning.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from enum import EnumMeta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed

from gptexp.config.schema import SECTIONS, SINGLE, VARIANTS, Config

PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"
FIELD = re.compile(r"    (\w+): ([^=#]+?)(?: = .+?)?  # (.+)")


def own_keys(node: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of the fields that a dataclass declares itself."""
    types = {field.name: field.type for field in dataclasses.fields(node)}
    for line in inspect.getsource(node).splitlines():
        if field := FIELD.fullmatch(line):
            kind = types[field[1]]
            choices = [member.name for member in kind] if isinstance(kind, EnumMeta) else []
            yield field[1], ", ".join(choices) or field[2], field[3]


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Key, choices that have it, type and meaning, in the order of the config."""
    yield from ((key, "", kind, text) for key, kind, text in own_keys(Config))
    for section in SECTIONS:
        variants = VARIANTS.get(section) or {"": SINGLE[section]}
        bases = dict.fromkeys(base for node in variants.values() for base in reversed(node.__mro__))
        for node in (base for base in bases if dataclasses.is_dataclass(base)):
            names = [name for name, variant in variants.items() if issubclass(variant, node)]
            have = "" if len(names) == len(variants) else ", ".join(names)
            for key, kind, text in own_keys(node):
                yield f"{section}.{key}", have, kind, text


def table() -> str:
    """All keys as a Markdown table."""
    lines = ["| key | of | type | meaning |", "|---|---|---|---|"]
    for key, have, kind, text in rows():
        kind = kind.replace("|", "or").replace("None", "null")
        lines.append(f"| `{key}` | {have} | {kind} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page, with the table as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
