"""What people type, before Hydra reads it: its grammar rewrites words, and text is to stay text.

In a key whose type is text, `name=2026_11_27` is that and no number, and `data.path=it's.txt` needs
no second pair of quotes. What stays Hydra's there: commas between the points of a sweep, quotes
around a whole value, `null` where a key may have none, `${...}`, and functions such as choice().
"""

import dataclasses
import os
import re
import shlex
import types
from collections.abc import Iterable
from functools import cache
from typing import Any, Union, get_args, get_origin

from gptexp.config.schema import SINGLE, VARIANTS, Config

TEXT, TEXT_OR_NULL, TEXTS = str, str | None, list[str]

OWN_GROUPS = ("experiment", "recipe", "sweeps")  # choices that are no sections
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "--config-dir")  # of Hydra, which knows no `~`

QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*\'"""
REFERENCE = r"\$\{(?:[^{}]|\$\{[^{}]*\})*\}"
PIECE = re.compile(rf"\s*(?:{QUOTED})\s*(?=,|$)|(?:{REFERENCE}|[^,])*", re.DOTALL)
LIST = re.compile(rf"\s*\[((?:{QUOTED}|[^\[\]])*)\]\s*(?=,|$)", re.DOTALL)
CHOICE = re.compile(r"\s*(?:choice|str)\s*\((.*)\)\s*", re.DOTALL)  # which loses quotes
FUNCTION = re.compile(r"\s*(?:range|interval|glob|int|float|bool|tag|sort|shuffle)\s*\(.*\)\s*")
PLAIN = re.compile(  # what Hydra reads as the same text
    r"(?!(?:null|true|false|nan|inf)$)(?:[a-z_]|\.{0,2}/|\$\{[^{}]*\})(?:[\w/.:@*?|+-]|\$\{[^{}]*\})*",
    re.ASCII | re.IGNORECASE,
)


def as_typed(words: Iterable[str]) -> list[str]:
    """The words, with quotes around each text that Hydra would change or fail to read."""
    return [_as_typed(word) for word in words]


def _as_typed(word: str) -> str:
    key, equals, value = word.partition("=")
    if key in FOLDERS and value.startswith("~"):
        value = os.path.expanduser(value)  # noqa: PTH111  # as files.at_home does
        word = f"{key}={value}"
    name = key.lstrip("+")
    lists_choices = is_group(name) and value.lstrip().startswith("[")
    if not equals or not is_text(name) or lists_choices:
        return word
    kind = kind_of(name)
    if listed := CHOICE.fullmatch(value):
        value = listed[1]
    return f"{key}={_lists(value) if kind == TEXTS else _texts(value, kind)}"


def _texts(value: str, kind: Any) -> str:
    """One text, or the texts of a sweep, in quotes where they need them."""
    pieces = pieces_of(value)
    if FUNCTION.fullmatch(value) or value == "":
        return value
    return ",".join(_text(p if len(pieces) == 1 else p.strip(), kind) for p in pieces)


def _text(piece: str, kind: Any) -> str:
    if PLAIN.fullmatch(piece) or re.fullmatch(QUOTED, piece.strip(), re.DOTALL) or piece == "???":
        return piece
    may_be_null = kind != TEXTS and (kind == TEXT_OR_NULL or piece == "null")
    if may_be_null and piece.lower() == "null":
        return piece
    return in_quotes(literal(piece) if r"\${" in piece else piece)


def _lists(value: str) -> str:
    """The texts of a list, or of each list of a sweep, likewise."""
    lists = list(LIST.finditer(value))
    if not lists and value.startswith("[") and value.endswith("]"):
        return f"[{_items(value[1:-1])}]"
    for match in reversed(lists):
        value = value[: match.start(1)] + _items(match[1]) + value[match.end(1) :]
    return value


def _items(inner: str) -> str:
    return ",".join(_text(piece.strip(), TEXTS) for piece in pieces_of(inner)) if inner else ""


def pieces_of(value: str) -> list[str]:
    """The value cut at its commas, but for those inside of quotes and of `${...}`."""
    pieces, start = [], 0
    while start <= len(value):
        piece = PIECE.match(value, start)
        assert piece is not None  # it may be empty
        pieces.append(piece[0])
        start = piece.end() + 1
    return pieces


def in_quotes(text: str) -> str:
    """The text in quotes of Hydra's, with those inside of it escaped."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(text, Quote.double).with_quotes())


def literal(text: str) -> str:
    """The text as OmegaConf reads it when `${` is to be two characters and no reference."""
    return re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + r"\${", text)


def quoted(key: str, *texts: str) -> str:
    """What to type in a shell for a key to be exactly this text, or for a list, these."""
    values = ",".join(in_quotes(literal(text)) for text in texts)
    return shlex.quote(f"{key}=[{values}]" if kind_of(key) == TEXTS else f"{key}={values}")


def unquoted(value: str) -> str:
    """The text of a value that is wholly in quotes; another value as it is."""
    if not re.fullmatch(QUOTED, value, re.DOTALL):
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if f"\\{value[0]}" in value else value[1:-1]


def given(key: str, words: Iterable[str]) -> str | None:
    """The value that the words give a key, as it was typed; None where they give none."""
    parts = (word.partition("=") for word in words)
    return next((value for name, is_, value in parts if is_ and name.strip("+") == key), None)


def is_group(key: str) -> bool:
    """Whether the key, or the override, chooses a file of conf/ or of Hydra."""
    key = key.partition("=")[0]
    return "/" in key or key in {*SINGLE, *VARIANTS, *OWN_GROUPS}


def is_text(key: str) -> bool:
    """Whether the key is a text, or a list of texts."""
    return kind_of(key) in (TEXT, TEXT_OR_NULL, TEXTS)


@cache
def kind_of(key: str) -> Any:
    """The type of a key such as data.path, a group being text; None for one that is not known."""
    if is_group(key):
        return TEXT_OR_NULL
    section, _, rest = key.partition(".")
    if section == "hydra":
        from hydra.conf import HydraConf

        return _kind_below(HydraConf, rest)
    nodes = [SINGLE[section]] if section in SINGLE else list(VARIANTS.get(section, {}).values())
    kinds = [_kind_below(node, rest) for node in nodes] if rest else [_kind_below(Config, key)]
    return next((kind for kind in kinds if kind is not None), None)


def _kind_below(node: Any, path: str) -> Any:
    """The type at a path of names below a dataclass, or a dictionary of anything."""
    for name in path.split("."):
        if dataclasses.is_dataclass(node):
            node = {field.name: field.type for field in dataclasses.fields(node)}.get(name)
        elif get_origin(node) is dict:
            node = get_args(node)[1]
        else:
            return None
    if get_origin(node) in (Union, types.UnionType):  # typing's own, as Hydra writes it
        return Union[tuple(get_args(node))]  # noqa: UP007
    return list[str] if get_args(node) == (str,) else node
