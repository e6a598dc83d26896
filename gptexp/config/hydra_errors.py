"""What Hydra, OmegaConf and YAML complain about, in one line: key or file, what is wrong, fix."""

import errno
import os
import re
import shlex
import traceback
from collections.abc import Sequence

import yaml

from gptexp.config.fixes import example, file_as_key, no_such_choice, unknown_key
from gptexp.config.names import CONF_DIR, choices, field_names, key_names, keys_of, section_of
from gptexp.config.own import folders_of
from gptexp.config.schema import NAME_MAX, VARIANTS
from gptexp.config.words import (
    PLAIN,
    TEXTS,
    as_typed,
    given,
    is_group,
    is_text,
    kind_of,
    pieces_of,
    quoted,
)
from gptexp.errors import Problem
from gptexp.text import nearest, shortened

ONE_OPTION = "Only one of --"  # how Hydra's complaint about its own options begins

LAUNCHERS = {  # which extra of ours brings it
    "joblib": "parallel",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
    "ray": "ray",
}


def is_config_error(error: BaseException) -> bool:
    """Whether `error` is a user's mistake that `explain` can word."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    known = HydraException | OmegaConfBaseException | yaml.YAMLError | UnicodeDecodeError
    words = ("Config group override must be", ONE_OPTION)
    return (
        isinstance(error, known) or any(word in str(error) for word in words) or _of_reading(error)
    )


def _of_reading(error: BaseException) -> bool:
    """Whether Hydra raised it while it read words or files: it checks few before it uses them.

    The system's refusals are none, but for a name that no file can have.
    """
    if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
        return False
    frames = traceback.walk_tb(error.__traceback__)
    called = [frame.f_globals.get("__name__", "") for frame, _ in frames]
    theirs = False
    for module in reversed(called):
        if module.startswith(("hydra.", "omegaconf.")):
            theirs = True
        elif module == "__main__" or module.startswith(("gptexp.", "hydra_plugins.")):
            return theirs and (module == "__main__" or module.startswith("gptexp.config."))
    return theirs


def explain(error: BaseException, words: Sequence[str] = ()) -> Problem:
    """One line for an exception that is_config_error; `words` are the command's, as typed."""
    from hydra.errors import MissingConfigException, OverrideParseException

    if ONE_OPTION in str(error):
        return Problem("options", "these do not stand together", "keep one of -m, --cfg and --info")
    causes = _chain(error)
    text = "\n".join(str(cause) for cause in causes)
    for cause in causes:
        if isinstance(cause, yaml.MarkedYAMLError):
            return _broken_yaml(cause)
    if isinstance(error, UnicodeDecodeError):
        return Problem(_undecodable_file(words), "not UTF-8", "save it as UTF-8 text")
    if isinstance(error, MissingConfigException):
        return _missing_file(str(error))
    if isinstance(error, OverrideParseException):
        return _unreadable_override(str(error.override), words)
    if folder := re.search(r"config directory '([^']+)' not found", text):
        fix = "name a folder that is there, or leave it out"
        return Problem(f"--config-dir={folder[1]}", "no such folder", fix)
    if "Config group override must be" in text:
        nulls = [w for w in words if is_group(w) and w.partition("=")[2].lower() == "null"]
        subject = nulls[0] if nulls else "model, data and the others"
        return Problem(subject, "null is no choice", "leave it out, or name one, as in model=tiny")
    if "object_type=ChoiceSweep" in text:
        word = next((w for w in words if re.search(r"=\w+\(.*\w+\(", w)), "a sweep")
        key = word.partition("=")[0]
        return Problem(word, "one sweep in another", f"list the values, as in {key}=1,2")
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^=']+)=", text):
        return _several_values(several[1].lstrip("+"), words)
    return _wrong_value(error, causes, text, words)


def _unreadable_word(error: BaseException, words: Sequence[str]) -> Problem:
    """The first word that Hydra cannot take, where what it raises says nothing of words."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for word, quoted_word in zip(words, as_typed(words), strict=True):
        key, _, value = word.lstrip("+~").partition("=")
        if kind_of(key) is None and len(key) > NAME_MAX:  # it was looked for as a file
            return unknown_key(shortened(key), "", key_names())
        if is_group(key) and (not PLAIN.fullmatch(value) or len(value) > NAME_MAX):
            known = choices(key.partition("@")[0])
            fix = f"{key}={known[0]}, for one" if known else "leave it out"
            return Problem(key, f"{shortened(value)} is no choice", fix)
        try:
            parser.parse_override(quoted_word)
        except HydraException:
            continue
        except Exception:
            what = f"{shortened(value)} is too long, or nested too deeply, to be read"
            return Problem(key, what, example(key, None))
    return Problem("config", _first_line(error) or type(error).__name__, "leave out what is odd")


def _several_values(key: str, words: Sequence[str]) -> Problem:
    fix, value = "one of them, or run.py -m, which runs one after another", given(key, words)
    if value is not None and is_text(key):
        texts = pieces_of(value) if kind_of(key) == TEXTS else [value]
        fix += f", or for one: {quoted(key, *texts)}"
    return Problem(key, "several values", fix)


def _wrong_value(
    error: BaseException, causes: list[BaseException], text: str, words: Sequence[str]
) -> Problem:
    """A key that is not there, or a value that is not of its type."""
    from hydra.errors import HydraException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    key = re.search(r"full_key: ([\w.]+)", text)
    name = key[1] if key and key[1] != "_dummy_" else "config"
    several = [word for word in words if re.match(r"[\w/]+=\[\w", word) and is_group(word)]
    if name == "config" and several:
        group, first = re.findall(r"[\w/]+", several[0])[:2]
        return Problem(group, "one choice, not a list", f"{group}={first}")
    file = re.search(r"^In '(?!config')([^']+)'", text)
    in_file = f" (in {file[1]}.yaml)" if file else ""
    subject = name + in_file
    if (problem := _unknown_name(name, in_file, text)) is not None:
        return problem
    if isinstance(error, MissingMandatoryValue):
        return Problem(subject, "has no value", f"give one, as in {name}=...")
    for longer, _, value in (word.lstrip("+").partition("=") for word in words):
        if name.startswith("data.parts.") and longer.startswith(f"{name}."):
            return file_as_key(longer, value)
    fix = example(name, given(name, words))
    if "is not Optional" in text:
        return Problem(subject, "null is not a value for it", fix)
    if "is not a ListConfig" in text:
        return Problem(subject, "not a list, which stands in brackets", fix)
    if missing := re.search(r"Interpolation key '([\w.]+)' not found", text):
        return Problem(subject, f"refers to {missing[1]}, which is not there", fix)
    if "does not support deletion" in text:
        return Problem(name, "cannot be left out", f"give a value, as in {name}=VALUE")
    if absent := re.search(r"Could not delete from config\. '(.+?)' does not exist", text):
        return unknown_key(absent[1], "", key_names())
    if left_out := re.search(r"The value of '(.+?)' is|keyword-only argument: '(\w+)'", text):
        name = left_out[1] or left_out[2]
        return Problem(name, "cannot be left out", f"give a value, as in {name}=VALUE")
    if added := re.search(r"An item is already at '(.+?)'", text):
        word = f"{added[1]}={given(added[1], words) or 'VALUE'}"
        return Problem(added[1], "is a key that there is", f"without the +, {shlex.quote(word)}")
    if not isinstance(error, HydraException | OmegaConfBaseException) and not key:
        return _unreadable_word(error, words)
    first = next((_first_line(c) for c in causes if isinstance(c, OmegaConfBaseException)), "")
    return Problem(subject, first or _first_line(error), fix)


def _unreadable_override(override: str, words: Sequence[str]) -> Problem:
    key, equals, value = override.partition("=")
    key, override = key.strip("+ "), shortened(override)
    if not equals:
        is_none = kind_of(key) is None or ("/" in key and not key.startswith("hydra/"))
        if is_none and os.path.isfile(f"{key}/manifest.json"):  # noqa: PTH113  # any name
            fix = f"{quoted('init_from', key)} starts from its weights"
            return Problem(override, "a run, whose own command is in its manifest.json", fix)
        if is_none and {"/", ".", "~"} & set(key):
            fix = f"for a text: data=text {shlex.quote(f'data.path={override}')}"
            return Problem(override, "not of the form KEY=VALUE", fix)
        fix = f"{key}=VALUE" if kind_of(key) else "leave it out"
        if kind_of(key) is None and (near := nearest(key, key_names())):
            fix = f"did you mean {near}=VALUE?"
        return Problem(override or "''", "not of the form KEY=VALUE", fix)
    if kind_of(key) is None:
        unknown = unknown_key(key, "", key_names())
        return Problem(override, "not of the form KEY=VALUE", unknown.fix)
    if key.startswith("data.parts.") and "/" in key:
        return file_as_key(key, value)
    what = "its value cannot be read" if not is_text(key) else "the value needs quotes"
    return Problem(override, what, example(key, given(key, words) or value))


def _unknown_name(name: str, in_file: str, text: str) -> Problem | None:
    """What `text` says of a key, a group or a choice that is not there; None of anything else."""
    if unknown := re.search(r"'(\w+)' not in '(\w+)'", text):
        group, _, leaf = name.partition(".")
        if in_file and any(leaf in field_names(node) for node in VARIANTS.get(group, {}).values()):
            what = f"is no key of the {group} that was chosen, and that file sets it"
            return Problem(name + in_file, what, f"leave {group}=... out, or what chose the file")
        return unknown_key(name, in_file, keys_of(unknown[2]))
    if unknown := re.search(r"'(\w+)' object has no attribute '(\w+)'", text):
        return unknown_key(section_of(unknown[1]) + unknown[2], in_file, keys_of(unknown[1]))
    if no_group := re.search(r"config group '([^']+)' does not exist", text):
        return Problem(no_group[1], "no such group of choices", "leave out the @ and what follows")
    if unlisted := re.search(r"Could not (?:override|delete) '(\S*?)'", text):
        fix = "leave out the @ and what follows" if "@" in unlisted[1] else "leave it out"
        return Problem(unlisted[1] or "~", "no choice that there is", fix)
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _first_line(error: BaseException) -> str:
    """What it says, without what OmegaConf was doing at the time, and without a whole section."""
    line = str(error).partition("\n")[0].rstrip(".")
    line = re.sub(r"^(?:While dereferencing .*?'\: |\w+ raised while resolving .*?: )", "", line)
    line = re.sub(r"'\{.*\}'", "a whole section", line)
    return line.partition(" expecting {")[0].strip('"')


def _missing_file(text: str) -> Problem:
    missing = re.search(r"Could not find '(?:(hydra/(?:sweeper/)?\w+|\w+)/)?([^']*)'", text)
    options = re.search(r"Available options in .*?:\n((?:\t.*\n?)*)", text)
    launcher = missing[2] if missing and missing[1] == "hydra/launcher" else ""
    if extra := LAUNCHERS.get(launcher):
        fix = f"pip install -e '.[{extra}]'"
        return Problem(f"hydra/launcher={launcher}", "not installed", fix)
    if launcher:
        fix = "pip install -e '.[parallel]', then hydra/launcher=joblib"
        return Problem(f"hydra/launcher={launcher}", "no such launcher", fix)
    if missing and missing[1] and options:
        return no_such_choice(missing[1], missing[2], [o.strip() for o in options[1].splitlines()])
    if schema := re.search(r"'schema/(\w+)/(\w+)'", text):
        what = "the module that registers it is not named"
        return Problem(f"{schema[1]}={schema[2]}", what, "plugins=[MODULE]")
    named = re.search(r"(?:load|config|find) '([^']+)'", text)
    fix = "correct its name, or leave it out"
    return Problem(named[1] if named else "config", "no such config file", fix)


def _broken_yaml(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = f"{mark.name}, line {mark.line + 1}" if mark else "a config file"
    return Problem(place, f"{error.problem or 'not YAML'}", "correct that line")


def _undecodable_file(words: Sequence[str]) -> str:
    """Python's own error does not name the file."""
    for folder in [*folders_of(words), CONF_DIR]:
        for path in sorted(folder.rglob("*.yaml")):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                return str(path)
    return "a config file"
