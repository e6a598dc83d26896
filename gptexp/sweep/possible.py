"""What could be trained around a sweep: neighbours with their configs, sizes and commands."""

import copy
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptexp.analysis.records import Run
from gptexp.config import Config, differences, from_dict, grid
from gptexp.errors import ConfigError, GptexpError, OtherCodeError, OwnCodeError, Problem
from gptexp.runs.schema import read_manifest
from gptexp.sweep.neighbours import Neighbour, neighbours
from gptexp.sweep.plan import Planner, Size
from gptexp.sweep.points import points_of
from gptexp.text import listed, plain

LARGEST = 4  # times the FLOPs of the largest run that was measured
AGAIN = "run its command again"


@dataclass(frozen=True)
class Possible:
    """A run that could be trained."""

    like: Neighbour
    config: Config
    size: Size


def possible_runs(
    measured: Sequence[Run], runs: Sequence[Run], planner: Planner
) -> tuple[list[Possible], list[Problem]]:
    """The neighbours of what was measured that can be trained, and why others cannot.

    Their seeds are new ones among all `runs`. Left out are those of more FLOPs than LARGEST, and
    those that see tokens again where no run did, of which the law knows nothing. Raises
    OwnCodeError where the runs need modules that were not named.
    """
    most = LARGEST * max(run.summary["flops"] for run in measured if run.summary)
    repeats = any(run.summary["epochs"] > 1 for run in measured if run.summary)
    configs: dict[Path, Config] = {}
    possible: list[Possible] = []
    problems: list[Problem] = []
    for like in neighbours(measured):
        try:
            if like.base.path not in configs:
                configs[like.base.path] = _config_of(like.base)
            config = _changed(configs[like.base.path], like, _seed(like, measured, runs))
            size = planner.size(config)
        except OwnCodeError:
            raise
        except GptexpError as error:
            problems += error.problems
            continue
        if 0 < size.flops <= most and (repeats or size.epochs <= 1):
            possible.append(Possible(like, config, size))
    return possible, problems


def command_of(one: Possible, extra: Sequence[str]) -> tuple[list[str], Config]:
    """The overrides that give the run, and `extra` ones; and the config that they make.

    They are those of the run that it is like, with what tells it apart at the end. Raises
    ConfigError where they give another config.
    """
    base, own = one.like.base, {_key(word) for word in extra}
    changes = {**one.like.values, "seed": one.config.seed}
    before = read_manifest(base.path).get("overrides", [])
    words = [word for word in before if _is_plain(word) and _key(word) not in {*changes, *own}]
    words += [f"{key}={plain(value)}" for key, value in changes.items()] + list(extra)
    config = _composed(words)
    if missing := _missing(one.config, config, own):
        words += missing
        config = _composed(words)
        if still := _missing(one.config, config, own):
            what = f"its overrides give another config, without {listed(still, most=3)}"
            raise ConfigError(Problem(base.path, what, AGAIN))
    return words, config


def in_a_shell(words: Sequence[str]) -> str:
    """The line to type."""
    return f"python run.py {shlex.join(words)}"


def _config_of(run: Run) -> Config:
    values = None if run.summary is None else run.summary.get("config")
    if values is None:
        what = "its summary tells no config, being of an older version"
        raise ConfigError(Problem(run.path, what, AGAIN))
    try:
        return from_dict(values)
    except OtherCodeError as error:
        raise error.of(run.path) from error


def _changed(base: Config, like: Neighbour, seed: int) -> Config:
    config = copy.deepcopy(base)
    for key, value in {**like.values, "seed": seed}.items():
        section, _, field = key.rpartition(".")
        setattr(getattr(config, section) if section else config, field, value)
    return config


def _seed(like: Neighbour, measured: Sequence[Run], runs: Sequence[Run]) -> int:
    """The lowest of the sweep; for a point that was measured, the next one."""
    if like.is_new:
        return min(_seeds(measured))
    same = like.base.identity()
    return 1 + max(_seeds([run for run in runs if run.identity() == same]))


def _seeds(runs: Sequence[Run]) -> list[int]:
    """The seeds of runs, and 0 in place of what a file has that is none."""
    return [run.seed if isinstance(run.seed, int) else 0 for run in runs]


def _composed(words: list[str]) -> Config:
    """The config of the one run that `python run.py WORDS` trains; raises ConfigError."""
    points = points_of(grid.of_command(words))
    if len(points) > 1:
        what = f"with these overrides a run is {len(points)} points"
        raise ConfigError(Problem("--suggest", what, "give each key one value"))
    if isinstance(points[0].config, ConfigError):
        raise points[0].config
    return points[0].config


def _missing(wanted: Config, config: Config, own: set[str]) -> list[str]:
    """Overrides that lack for the config to be what is wanted, but for the keys of its `own`."""
    pairs = [(difference.key, difference.stored) for difference in differences(wanted, config)]
    if wanted.name != config.name:
        pairs.append(("name", wanted.name))
    return [f"{key}={value}" for key, value in pairs if key not in own]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _is_plain(word: str) -> bool:
    """Whether an override out of a file sets a value, and brings in no code and no folder."""
    section = re.split(r"[./@]", _key(word))[0]
    return "=" in word and not word.startswith("-") and section not in ("hydra", "plugins")
