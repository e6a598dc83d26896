"""What a run brings along that another one starts from: its model, tokenizer and recipe.

Torch-free, but for a lone checkpoint file.
"""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gptexp import plugins
from gptexp.config import BUDGETS, CharTokenizerConfig, Config, fitted, from_dict, stored_config
from gptexp.config.given import given_keys
from gptexp.config.identity import UNHASHED
from gptexp.config.schema import VARIANTS
from gptexp.errors import ConfigError, GptexpError, OwnCodeError, Problem
from gptexp.experiment.identity import init_path, named_init_from
from gptexp.runs.directory import RunDirectory

LENGTH = {"max_steps", *BUDGETS}  # one choice: of two budgets none would count
MACHINE = {"device", "dtype", "compile"}  # on which a run goes on, wherever the first one was


def inherited(config: Config, overrides: Sequence[str]) -> Config:
    """`config` with all that the run behind init_from says and the overrides do not.

    That is what the same command with each value typed out composes, so it is the same run. It is
    `config` itself where there is no init_from. Raises ConfigError.
    """
    if config.init_from is None:
        return config
    plugins.load(config.plugins)
    stored = _stored(config.init_from)
    given = given_keys(overrides)
    config = copy.deepcopy(config)
    for section in VARIANTS:
        if section not in given:
            setattr(config, section, _section(section, stored, config, given))
    if "trainer" not in given:
        _take_recipe(stored, config, given)
    return fitted(config)


def _section(section: str, stored: Config, config: Config, given: set[str]) -> object:
    """The section of the stored config, with the keys that are given."""
    theirs, ours = copy.deepcopy(getattr(stored, section)), getattr(config, section)
    if isinstance(theirs, CharTokenizerConfig):
        theirs.extend = False  # the vocabulary comes along as it is
    for key in (key for key in sorted(given) if key.startswith(f"{section}.")):
        field = key.partition(".")[2]
        if not hasattr(theirs, field):
            choice = theirs.kind if section == "model" else theirs.name
            what = f"{section}={choice} of {config.init_from} has no such key"
            raise ConfigError(Problem(key, what, f"leave it out, or choose {section}={ours.name}"))
        setattr(theirs, field, getattr(ours, field))
    return theirs


def _take_recipe(stored: Config, config: Config, given: set[str]) -> None:
    """Set the keys of the trainer that are hashed and of no machine, and not given."""
    kept = {key.partition(".")[2] for key in given if key.startswith("trainer.")}
    if kept & LENGTH:
        kept |= LENGTH
    for field in dataclasses.fields(config.trainer):
        if field.name not in UNHASHED | MACHINE | kept:
            setattr(config.trainer, field.name, getattr(stored.trainer, field.name))


def _stored(init_from: str) -> Config:
    """The config of the run directory or checkpoint behind init_from; raises ConfigError."""
    try:
        with named_init_from():
            return _read(init_path(init_from), init_from)
    except ConfigError:
        raise
    except GptexpError as error:
        raise ConfigError(*error.problems) from error


def _read(path: Path, init_from: str) -> Config:
    try:
        if (path / "config.yaml").exists():
            return RunDirectory(path).config("restore it, or name another run")
        return _of_checkpoint(path, init_from)
    except OwnCodeError as error:
        fix = f"plugins=[{','.join(error.modules)}], if you trust it"
        raise error.of(f"init_from: {init_from}", fix) from error


def _of_checkpoint(path: Path, init_from: str) -> Config:
    from gptexp.inference.load import read_checkpoint  # torch

    with stored_config(f"init_from: {init_from}", "use the gptexp that wrote it"):
        return from_dict(read_checkpoint(path)["config"])
