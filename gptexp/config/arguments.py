"""What is wrong with a command line before Hydra reads it, which would let it pass."""

import logging
import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from gptexp.config.fixes import no_such_choice
from gptexp.config.names import choices
from gptexp.config.schema import SECTIONS
from gptexp.config.words import CHOICE, PLAIN, is_text, kind_of, pieces_of, unquoted
from gptexp.errors import ConfigError, Problem, one_line
from gptexp.text import shortened

log = logging.getLogger(__name__)

# What these functions of Hydra's give is read anew, whatever quotes it had.
REORDERED = re.compile(r"\s*(sort|shuffle)\s*\((.*)\)\s*", re.DOTALL)

COMPLETION, SHELLS = ("install", "uninstall", "query"), ("bash", "fish", "zsh")  # Hydra's


def checked(words: Sequence[str]) -> list[str]:
    """The words of a command line, of each key the last: scripts put words behind others.

    That is noted. Raises ConfigError for what Hydra would pass over in silence.
    """
    ConfigError.raise_for(override_problems(words))
    values: dict[str, list[str]] = {}
    last: dict[str, int] = {}
    for place, word in enumerate(words):
        key, equals, value = word.partition("=")
        key = key.lstrip("+~")
        if equals and not key.startswith(("-", "hydra.")):
            values.setdefault(key, []).append(value)
            last[key] = place
    for key, given in values.items():
        if len({*given}) > 1:
            *earlier, counts = (shortened(one_line(value)) for value in given)
            others = " and ".join(earlier)
            log.warning("%s is given again: %s counts, and not %s", one_line(key), counts, others)
    return [w for place, w in enumerate(words) if place >= last.get(_key(w), 0)]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~") if "=" in word else ""


def override_problems(arguments: Sequence[str]) -> list[Problem]:
    """The problems of a command line that Hydra would pass over in silence."""
    return [
        *dashed(arguments),
        *_keyless(arguments),
        *_reordered(arguments),
        *_missing_recipe(arguments),
    ]


def option_problems(arguments: Sequence[str]) -> list[Problem]:
    """What Hydra would say of the options of run.py in a page of its own."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ConfigError(Problem("options", message, "see python run.py --help"))

    parser.error = error
    try:
        args = parser.parse_args([word for word in arguments if word != "--version"])
    except ConfigError as wrong:
        return list(wrong.problems)
    return list(_useless(args))


def _useless(args: Namespace) -> Iterator[Problem]:
    """The options that Hydra would answer with a traceback, or obey at the user's peril."""
    if args.experimental_rerun is not None:
        what = "a pickle can hold any program"
        yield Problem("--experimental-rerun", what, "the command in the run's manifest.json")
    if args.resolve and args.cfg is None and not args.help:
        yield Problem("--resolve", "it is about what --cfg shows", "add --cfg job")
    known = args.package in (None, "_global_", "hydra") or kind_of(args.package) is not None
    if args.cfg is not None and not known:
        what = f"{args.package} is no section or key"
        yield Problem("--package", what, f"one of {', '.join(SECTIONS)}")
    if args.shell_completion:
        asked = [w.partition("=") for w in args.overrides if w.partition("=")[0] in COMPLETION]
        if len(asked) != 1 or asked[0][2] not in SHELLS:
            what = f"it takes one of {', '.join(COMPLETION)}, with one of {', '.join(SHELLS)}"
            yield Problem("--shell-completion", what, "-sc install=bash")


def dashed(words: Sequence[str]) -> list[Problem]:
    """The words that are overrides behind dashes, as W&B's agents send them."""
    problems = []
    for word, following in zip(words, [*words, "-"][1:], strict=True):
        key, equals, _ = (bare := word.lstrip("-")).partition("=")
        if word == bare or (kind_of(key) is None and key.partition(".")[0] not in SECTIONS):
            continue
        if not equals and not following.startswith("-") and "=" not in following:
            bare = f"{key}={following}"
        fix = f"leave the dashes out: {shlex.quote(bare)}"
        problems.append(Problem(word, "an override has no dashes", fix))
    return problems


def _keyless(arguments: Sequence[str]) -> list[Problem]:
    return [
        Problem(word, "no key before the =", f"a key before it, as in seed{word}")
        for word in arguments
        if word.lstrip("+~").startswith("=")
    ]


def _reordered(words: Iterable[str]) -> Iterator[Problem]:
    """The texts that sort() and shuffle() would make numbers of, whatever quotes they have."""
    for word in words:
        key, _, value = word.partition("=")
        call = REORDERED.fullmatch(value)
        if (
            call
            and is_text(key)
            and not all(PLAIN.fullmatch(p.strip()) for p in pieces_of(call[2]))
        ):
            fix = f"list them: {shlex.quote(f'{key}={call[2]}')}"
            yield Problem(key, f"{call[1]}() would change these texts", fix)


def _missing_recipe(arguments: Sequence[str]) -> list[Problem]:
    """The recipe is optional in the defaults list, so Hydra skips one that is not there."""
    for argument in arguments:
        if argument.startswith("recipe="):
            value = argument.removeprefix("recipe=")
            call = CHOICE.fullmatch(value)
            names = [unquoted(name.strip()) for name in pieces_of(call[1] if call else value)]
            known = choices("recipe")
            unknown = [name for name in names if name not in [*known, "null"]]
            if unknown:
                return [no_such_choice("recipe", unknown[0], known)]
    return []
