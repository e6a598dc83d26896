"""The typed configs of a sweep's points, composed much faster than Hydra composes its jobs."""

import copy
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gptexp.config.arguments import checked
from gptexp.config.compose import SEARCH, composing, typed, without_hydra
from gptexp.config.names import choices
from gptexp.config.schema import SINGLE, VARIANTS, Config
from gptexp.config.words import as_typed
from gptexp.errors import ConfigError, Problem

log = logging.getLogger(__name__)

MOST_POINTS = 100_000  # of a sweep; more of them fill the memory before the first is trained


def configs(
    loader: ConfigLoader, master: DictConfig, points: list[list[str]]
) -> Iterator[Config | ConfigError]:
    """Each point's config, or why its values make none.

    A whole composition takes Hydra a tenth of a second. Points of equal keys that make the same
    choices differ in plain values alone, which are set on a copy of the first such point's
    composition, as Hydra would. Raises what Hydra raises for an unknown key, type or choice of any
    point.
    """
    parse = cache(OverridesParser.create(loader).parse_override)
    composed: dict[tuple[str, ...], DictConfig] = {}
    for point in points:
        overrides = [parse(text) for text in point]
        choices = tuple(o.key_or_group if _is_plain(o) else o.input_line or "" for o in overrides)
        if choices not in composed:
            composed[choices] = without_hydra(loader.load_sweep_config(master, point))
        try:
            cfg = _with_values(composed[choices], [o for o in overrides if _is_plain(o)])
        except (HydraException, OmegaConfBaseException):
            # words it, with the file's name
            cfg = without_hydra(loader.load_sweep_config(master, point))
        try:
            yield typed(cfg, [f"{o.key_or_group}={o.value()}" for o in overrides])
        except ConfigError as error:
            if isinstance(error.__cause__, AttributeError):  # `+model.typo=1`, see typed()
                raise
            yield error  # a value that is missing, or refers to nothing


def grid(
    loader: ConfigLoader, params: Mapping[str, Any] | None, overrides: list[str]
) -> list[list[str]]:
    """The overrides of each point: those of the command win over a sweep's own `params`.

    A point that is given twice is one. Raises ConfigError where there is none.
    """
    merged = parsed(loader, params, overrides)
    ConfigError.raise_for([*_intervals(merged), *holds_nothing(merged)])
    [points] = BasicSweeper.split_arguments(merged, None)
    different = [list(point) for point in dict.fromkeys(map(tuple, points))]
    if repeated := len(points) - len(different):
        log.warning("%d of %d points repeat another one, and count once", repeated, len(points))
    return different


def parsed(
    loader: ConfigLoader, params: Mapping[str, Any] | None, overrides: Iterable[str]
) -> list[Override]:
    """A sweep's own `params`, then the overrides of the command."""
    own = as_typed(f"{key}={value}" for key, value in (params or {}).items())
    return list(OverridesParser.create(loader).parse_overrides([*own, *overrides]))


def single(overrides: Iterable[Override]) -> list[str]:
    """Overrides of one value each, as text; of a key the last."""
    [[point]] = BasicSweeper.split_arguments(list(overrides), None)
    return list(point)


def _intervals(overrides: Iterable[Override]) -> Iterator[Problem]:
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if isinstance(value, IntervalSweep):
            fix = f"list values, as in {key}={value.start},{value.end}"
            yield Problem(key, "a grid has no intervals", f"{fix}, or hydra/sweeper=optuna")


def holds_nothing(overrides: Iterable[Override]) -> Iterator[Problem]:
    """The sweeps over nothing, or over more than can be listed."""
    points = 1
    for override in overrides:
        key = override.key_or_group
        if override.is_discrete_sweep():
            points *= (count := _count(override))
            if count == 0:
                what = f"{(override.input_line or '').partition('=')[2]} holds no value"
                examples = choices(key)[:2] or ["1", "2"]
                yield Problem(key, what, f"list some, as in {key}={','.join(examples)}")
            elif points > MOST_POINTS:
                what = f"a sweep of more than {MOST_POINTS:,} points, with those of this key"
                yield Problem(key, what, "take fewer values")
                return


def _count(override: Override) -> int:
    """How many values a sweep over one key has, counted only as far as a sweep can go."""
    return sum(1 for _ in islice(override.sweep_string_iterator(), MOST_POINTS + 1))


def of_command(words: list[str]) -> list[tuple[list[str], Config | ConfigError]]:
    """The points that `python run.py WORDS` would train, with or without -m; raises ConfigError."""
    words = checked([word for word in words if word not in ("-m", "--multirun")])
    with composing(words):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", as_typed(words), RunMode.MULTIRUN)
        if master.hydra.sweeper._target_ == SEARCH:
            what = "a search, which chooses each point by what came of those before"
            fix = "list values in place of it"
            raise ConfigError(Problem("hydra/sweeper=optuna", what, fix))
        task: Any = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
        points = grid(loader, master.hydra.sweeper.params, task)
        return list(zip(points, configs(loader, master, points), strict=True))


def _is_plain(override: Override) -> bool:
    """Whether it sets one key that every choice of a group has or lacks, and selects nothing."""
    section, dot, _ = override.key_or_group.partition(".")
    keys = {field.name for field in dataclasses.fields(Config)} - {*SINGLE, *VARIANTS}
    known = section in {*SINGLE, *VARIANTS} if dot else section in keys
    return override.type is OverrideType.CHANGE and override.package is None and known


def _with_values(cfg: DictConfig, overrides: list[Override]) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    for override in overrides:
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return cfg
