"""Which keys a command line gives: those that are typed, and those of the files it chooses."""

from collections.abc import Iterable, Iterator
from typing import Any

from gptexp.config.names import CONF_DIR
from gptexp.config.schema import SECTIONS
from gptexp.config.stored import parse_yaml
from gptexp.config.words import OWN_GROUPS, unquoted


def given_keys(words: Iterable[str]) -> set[str]:
    """The keys, as optim.lr, that overrides give; a section such as optim stands for all of its.

    `model=NAME` gives the keys of its recipe too. A choice whose file is not in conf/, as it is
    with --config-dir, may give any key, so it stands for all sections.
    """
    return {key for word in words for key in _of_word(word)}


def _of_word(word: str) -> Iterator[str]:
    key, _, value = word.partition("=")
    key = key.lstrip("+~")
    yield from _of_choice(key, unquoted(value)) if key in ("model", *OWN_GROUPS) else [key]


def _of_choice(group: str, name: str) -> Iterator[str]:
    """What a choice of a group gives, by its file."""
    if group == "model":
        yield "model"
        group = "recipe"
    if name in ("null", ""):
        return
    path = CONF_DIR / group / f"{name}.yaml"
    if not path.is_file():
        yield from SECTIONS
        return
    values = parse_yaml(path.read_text(encoding="utf-8")) or {}
    for choice in values.pop("defaults", []):
        if isinstance(choice, dict):
            for other, chosen in choice.items():
                yield from _of_word(f"{other.removeprefix('override ').lstrip('/')}={chosen}")
        elif choice != "_self_":  # another file of the group, which this one changes
            yield from _of_choice(group, choice)
    yield from _dotted(values)


def _dotted(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from (f"{key}.{field}" for field in value)
        else:
            yield key
