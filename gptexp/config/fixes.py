"""What to type in place of a key, a value or a choice that is wrong."""

import re
import shlex
from enum import Enum
from typing import Any, get_args, get_origin

from gptexp.config import retired
from gptexp.config.names import field_names
from gptexp.config.schema import OWN_SECTIONS, VARIANTS
from gptexp.config.words import TEXTS, is_text, kind_of, pieces_of, quoted, unquoted
from gptexp.errors import Problem
from gptexp.text import nearest, shortened

# The numbers in a fix: 4 and 0.1 are in the range of all other keys.
NUMBERS = {"tokenizer.vocab_size": "1024, a whole number"}

# Choices that need another word beside them.
NOT_ALONE = {"bigram", "chat", "count", "documents", "mix", "text"}


def example(key: str, value: str | None) -> str:
    """What to type for a key: a value of its type, most like the one that was given."""
    kind: Any = kind_of(key)
    if is_text(key) and value is not None:
        return _text_example(key, value)
    if get_origin(kind) is list:
        return f"{shlex.quote(f'{key}=[4]')}, whole numbers in brackets"
    if get_origin(kind) is dict:
        return f"{key}.NAME=0.1, a number for each name"
    if key in NUMBERS:
        return f"{key}={NUMBERS[key]}"
    kinds = get_args(kind) or (kind,)
    examples = {int: "4, a whole number", float: "0.1, a number", bool: "true or false"}
    for one in kinds:
        if isinstance(one, type) and issubclass(one, Enum):
            # Hydra's own have numbers for values.
            options = [o.value if isinstance(o.value, str) else o.name for o in one]
            return f"{key}={nearest(value or '', options) or options[0]}"
    return f"{key}={next((examples[one] for one in kinds if one in examples), 'VALUE')}"


def _text_example(key: str, value: str) -> str:
    """The value in quotes, so that it is taken as it stands; of a label, what can be one."""
    if kind_of(key) == TEXTS:
        return f"{key}=[]" if value == "null" else quoted(key, *map(unquoted, pieces_of(value)))
    if "${" in value and key.endswith(("name", "project")):
        return f"{key}={re.sub(r'[^A-Za-z0-9_]', '', value) or 'mine'}"
    return quoted(key, unquoted(value))


def file_as_key(key: str, value: str) -> Problem:
    """The error of a part of a mix that is a file, whose slashes and dots no key can have."""
    fix = shlex.quote(f"data.parts={{{key.removeprefix('data.parts.')}: {unquoted(value)}}}")
    override = shortened(f"{key}={unquoted(value)}")
    return Problem(override, "no key is a file", f"{fix}, which names all parts")


def unknown_key(key: str, in_file: str, known: list[str]) -> Problem:
    """The problem of a key that is not among those `known`, or that was taken out."""
    if gone := retired.problem_of(key, in_file):
        return gone
    group, _, leaf = key.partition(".")
    having = [name for name, node in VARIANTS.get(group, {}).items() if leaf in field_names(node)]
    if having and group != "model":  # whose choices are presets
        fix = f"leave it out, or {' or '.join(f'{group}={name}' for name in having)}, which has it"
        return Problem(f"{key}{in_file}", f"no such key among {', '.join(known)}", fix)
    leaves = {name.rpartition(".")[2]: name for name in known}
    near = nearest(key.rpartition(".")[2], leaves)
    fix = f"did you mean {leaves[near]}?" if near else f"use one of {', '.join(known)}"
    return Problem(f"{key}{in_file}", "no such key", fix)


def no_such_choice(group: str, choice: str, known: list[str]) -> Problem:
    """The problem of a choice that is not among those `known` of its group."""
    if group == "data" and {"/", "."} & set(choice):
        fix = f"data=text {shlex.quote(f'data.path={choice}')}"
        return Problem(f"data={choice}", "a file is no choice", fix)
    near, choice = nearest(choice, known), shortened(choice)
    alone = next((name for name in known if name not in NOT_ALONE), known[0])
    fix = f"did you mean {group}={near}?" if near else f"{group}={alone}, for one"
    what = f"not among the choices {', '.join(known)}"
    if not near and group in OWN_SECTIONS:
        what += "; own ones come with plugins=[MODULE]"
    return Problem(f"{group}={choice}", what, fix)
