"""What a run brings along that another one starts from: its model, tokenizer and recipe, or all.

Torch-free, but for a lone checkpoint file.
"""

import copy
import dataclasses
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from gptexp import plugins
from gptexp.config import BUDGETS, CharTokenizerConfig, Config, fitted, from_dict, stored_config
from gptexp.config.given import given_keys
from gptexp.config.identity import UNHASHED
from gptexp.config.schema import VARIANTS
from gptexp.errors import ConfigError, GptexpError, OwnCodeError, Problem
from gptexp.experiment.identity import named_init_from
from gptexp.experiment.start import find_base, named_path
from gptexp.runs.directory import RunDirectory

LENGTH = {"max_steps", *BUDGETS}  # one choice: of two budgets none would count
MACHINE = {"device", "dtype", "compile"}  # on which a run goes on, wherever the first one was


def inherited(config: Config, overrides: Sequence[str]) -> Config:
    """`config` with all that the run behind init_from or branch_from says and the overrides do not.

    That is what the same command with each value typed out composes, so it is the same run. It is
    `config` itself where there is neither, or both. Raises ConfigError.
    """
    if (config.init_from is None) == (config.branch_from is None):
        return config
    plugins.load(config.plugins)
    given = given_keys(overrides)
    config = copy.deepcopy(config)
    sections: Sequence[str] = tuple(VARIANTS)
    left: AbstractSet[str] = UNHASHED | MACHINE
    if config.branch_from is not None:  # all but name, logger and own code
        stored = _stored(config.branch_from, "branch_from")
        sections, left = (*VARIANTS, "data"), {"retry_failed", "profile"}
        if "seed" not in given:
            config.seed = stored.seed
    else:
        assert config.init_from is not None
        stored = _stored(config.init_from, "init_from")
    for section in sections:
        if section not in given:
            setattr(config, section, _section(section, stored, config, given))
    if "trainer" not in given:
        _take_recipe(stored, config, given, left)
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
            what = f"{section}={choice} of {config.init_from or config.branch_from} has no such key"
            raise ConfigError(Problem(key, what, f"leave it out, or choose {section}={ours.name}"))
        setattr(theirs, field, getattr(ours, field))
    return theirs


def _take_recipe(stored: Config, config: Config, given: set[str], left: AbstractSet[str]) -> None:
    """Set the keys of the trainer that are neither given nor `left` as they are."""
    kept = {key.partition(".")[2] for key in given if key.startswith("trainer.")}
    if kept & LENGTH:
        kept |= LENGTH
    for field in dataclasses.fields(config.trainer):
        if field.name not in left | kept:
            setattr(config.trainer, field.name, getattr(stored.trainer, field.name))


def _stored(words: str, key: str) -> Config:
    """The config of the run directory or checkpoint behind `key`; raises ConfigError."""
    try:
        if key == "branch_from":
            return _read(find_base(words).directory.path, words, key)
        with named_init_from():
            return _read(named_path(words), words)
    except ConfigError:
        raise
    except GptexpError as error:
        raise ConfigError(*error.problems) from error


def _read(path: Path, words: str, key: str = "init_from") -> Config:
    try:
        if (path / "config.yaml").exists():
            return RunDirectory(path).config("restore it, or name another run")
        return _of_checkpoint(path, words)
    except OwnCodeError as error:
        fix = f"plugins=[{','.join(error.modules)}], if you trust it"
        raise error.of(f"{key}: {words}", fix) from error


def _of_checkpoint(path: Path, init_from: str) -> Config:
    from gptexp.inference.weights import read_checkpoint  # torch

    with stored_config(f"init_from: {init_from}", "use the gptexp that wrote it"):
        return from_dict(read_checkpoint(path)["config"])
