"""What Hydra, OmegaConf and YAML complain about, in one line: key or file, what is wrong, fix."""

import dataclasses
import difflib
import re
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gptexp.config.schema import SINGLE, VARIANTS, Config
from gptexp.errors import Problem

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"

ONE_OPTION = "Only one of --"  # how Hydra's complaint about its own options begins
LAUNCHERS = {  # which extra of ours brings it
    "joblib": "parallel",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
    "ray": "ray",
}


def choices(group: str) -> list[str]:
    """The choices of a group, by name: the files of its folder in conf/."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def override_problems(arguments: list[str]) -> list[Problem]:
    """The problems of a command line that Hydra would pass over in silence."""
    return [*_duplicates(arguments), *_missing_recipe(arguments)]


def is_config_error(error: BaseException) -> bool:
    """Whether `error` is a user's mistake that `explain` can word."""
    known = HydraException | OmegaConfBaseException | yaml.YAMLError | UnicodeDecodeError
    words = ("Config group override must be", ONE_OPTION)
    return isinstance(error, known) or any(word in str(error) for word in words)


def explain(error: BaseException, arguments: list[str] | None = None) -> Problem:
    """One line for an exception that is_config_error; `arguments` are the command line's."""
    if ONE_OPTION in str(error):
        return Problem("options", "these do not stand together", "keep one of -m, --cfg and --info")
    causes = _chain(error)
    text = "\n".join(str(cause) for cause in causes)
    for cause in causes:
        if isinstance(cause, yaml.MarkedYAMLError):
            return _broken_yaml(cause)
    if isinstance(error, UnicodeDecodeError):
        return Problem(_undecodable_file(arguments or []), "not UTF-8", "save it as UTF-8 text")
    if isinstance(error, MissingConfigException):
        return _missing_file(str(error))
    if isinstance(error, OverrideParseException):
        return _unreadable_override(str(error.override))
    if "Config group override must be" in text:
        return Problem(
            "model, data and the others", "null is no choice", "name one, as in model=tiny"
        )
    several = r"(?:Ambiguous value for argument|Sweep parameters) '([^=']+)="
    if list_value := re.search(several, text):
        return Problem(list_value[1], "several values", "add -m to run one after another")
    key = re.search(r"full_key: ([\w.]+)", text)
    name = key[1] if key and key[1] != "_dummy_" else "config"
    file = re.search(r"^In '(?!config')([^']+)'", text)
    in_file = f" (in {file[1]}.yaml)" if file else ""
    subject = name + in_file
    if unknown := re.search(r"'(\w+)' not in '(\w+)'", text):
        group, _, leaf = name.partition(".")
        if in_file and any(leaf in _leaves(node) for node in VARIANTS.get(group, {}).values()):
            what = f"is no key of the {group} that was chosen, and that file sets it"
            return Problem(subject, what, f"leave {group}=... out, or what chose the file")
        return _unknown_key(name, in_file, _keys_of(unknown[2]))
    if unknown := re.search(r"'(\w+)' object has no attribute '(\w+)'", text):
        return _unknown_key(_section_of(unknown[1]) + unknown[2], in_file, _keys_of(unknown[1]))
    if isinstance(error, MissingMandatoryValue):
        return Problem(subject, "has no value", f"give one, as in {name}=...")
    if "is not Optional" in text:
        return Problem(subject, "null is not a value for it", f"{name}=VALUE")
    if missing := re.search(r"Interpolation key '([\w.]+)' not found", text):
        return Problem(subject, f"refers to {missing[1]}, which is not there", "name a key that is")
    if "does not support deletion" in text:
        return Problem(name, "cannot be left out", f"give a value, as in {name}=VALUE")
    first = next((_first_line(c) for c in causes if isinstance(c, OmegaConfBaseException)), "")
    return Problem(subject, first or _first_line(error), f"{name}={_example(first)}")


def _example(complaint: str) -> str:
    """A value of the kind that was asked for."""
    if one_of := re.search(r"Invalid value '(.*)', expected one of \[(.*)\]", complaint):
        options = one_of[2].split(", ")
        return next(iter(difflib.get_close_matches(one_of[1], options, n=1)), options[0])
    kinds = {"Integer": "1000, a whole number", "Float": "0.1, a number", "bool": "true or false"}
    return next((kinds[kind] for kind in kinds if kind in complaint), "VALUE")


def _unreadable_override(override: str) -> Problem:
    key, equals, value = override.partition("=")
    if not equals:
        return Problem(override, "not of the form KEY=VALUE", f"{override}=VALUE")
    return Problem(override, "the value has characters that need quotes", f"""'{key}="{value}"'""")


def _duplicates(arguments: list[str]) -> list[Problem]:
    seen: dict[str, str] = {}
    problems = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.lstrip("+~")
        if not equals or key.startswith("-"):
            continue
        if key in seen and not key.startswith("hydra."):
            problems.append(
                Problem(key, f"given twice, as {seen[key]} and {value}", "keep one of them")
            )
        seen[key] = value
    return problems


def _missing_recipe(arguments: list[str]) -> list[Problem]:
    """The recipe is optional in the defaults list, so Hydra skips one that is not there."""
    for argument in arguments:
        if argument.startswith("recipe="):
            names = argument.removeprefix("recipe=").split(",")
            known = choices("recipe")
            unknown = [name for name in names if name not in [*known, "null"]]
            if unknown:
                return [_no_such_choice("recipe", unknown[0], known)]
    return []


def _chain(error: BaseException | None) -> list[BaseException]:
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _sections() -> dict[str, list[type]]:
    """Group name -> its dataclasses."""
    single = {group: [node] for group, node in SINGLE.items()}
    return single | {group: list(variants.values()) for group, variants in VARIANTS.items()}


def _section_of(class_name: str) -> str:
    for group, nodes in _sections().items():
        if class_name in [node.__name__ for node in nodes]:
            return f"{group}."
    return ""


def _keys_of(class_name: str) -> list[str]:
    """Full names of the keys of the dataclass called `class_name`, or of the root."""
    for group, nodes in _sections().items():
        for node in nodes:
            if node.__name__ == class_name:
                return [f"{group}.{field.name}" for field in dataclasses.fields(node)]
    return [field.name for field in dataclasses.fields(Config)]


def _leaves(node: type) -> set[str]:
    return {field.name for field in dataclasses.fields(node)}


def _unknown_key(key: str, in_file: str, known: list[str]) -> Problem:
    leaves = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], leaves, n=1)
    fix = f"did you mean {leaves[near[0]]}?" if near else f"use one of {', '.join(known)}"
    return Problem(f"{key}{in_file}", "no such key", fix)


def _no_such_choice(group: str, choice: str, known: list[str]) -> Problem:
    if group == "data" and {"/", "."} & set(choice):
        return Problem(f"data={choice}", "a file is no choice", f"data=text data.path={choice}")
    near = difflib.get_close_matches(choice, known, n=1)
    fix = f"did you mean {group}={near[0]}?" if near else f"{group}={known[0]}, for one"
    return Problem(f"{group}={choice}", f"not among the choices {', '.join(known)}", fix)


def _missing_file(text: str) -> Problem:
    missing = re.search(r"Could not find '(?:(\w+)/)?([^']*)'", text)
    options = re.search(r"Available options in .*?:\n((?:\t.*\n?)*)", text)
    if launcher := re.search(r"Could not find 'hydra/launcher/(\w+)'", text):
        extra = LAUNCHERS.get(launcher[1], "parallel")
        what = "not installed" if launcher[1] in LAUNCHERS else "no such launcher"
        return Problem(f"hydra/launcher={launcher[1]}", what, f"pip install -e '.[{extra}]'")
    if missing and missing[1] and options:
        return _no_such_choice(missing[1], missing[2], [o.strip() for o in options[1].splitlines()])
    named = re.search(r"'([^']+)'", text)
    return Problem(named[1] if named else "config", "no such config file", "correct its name")


def _broken_yaml(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = f"{mark.name}, line {mark.line + 1}" if mark else "a config file"
    return Problem(place, f"{error.problem or 'not YAML'}", "correct that line")


def _undecodable_file(arguments: list[str]) -> str:
    """Python's own error does not name the file."""
    own = [a.partition("=")[2] for a in arguments if a.startswith(("--config-dir=", "-cd="))]
    for folder in [*map(Path, own), CONF_DIR]:
        for path in sorted(folder.rglob("*.yaml")):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                return str(path)
    return "a config file"
