"""A search, `hydra/sweeper=optuna`: its settings, and what it varies, in plain values."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, TypeAlias, get_args

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gptexp.config.grid import holds_nothing, parsed, single
from gptexp.config.identity import JUDGES, PARTS
from gptexp.config.words import kind_of
from gptexp.errors import ConfigError, Problem

NAMES = ("n_trials", "n_jobs", "study_name", "storage")  # of settings that are plain values
DIGITS = 4  # of a number that is drawn from an interval: as one would type it


@dataclass(frozen=True)
class SearchSettings:
    """The keys below hydra.sweeper."""

    n_trials: int  # of the study in all
    n_jobs: int  # trials at once, where a launcher has processes for them
    study_name: str | None  # None for the name of its runs
    storage: str | None  # an URL as Optuna has them; None for a file beside its runs
    seed: int | None  # of the sampler; None for another one each time
    sampler: Callable[..., Any]  # makes one of Optuna's from a seed
    pruner: Any  # one of Optuna's


def require_optuna() -> None:
    """Raise ConfigError where Optuna is not installed."""
    if find_spec("optuna") is None:
        fix = "pip install -e '.[search]'"
        raise ConfigError(Problem("hydra/sweeper=optuna", "not installed", fix))


def search_settings(node: Any) -> SearchSettings:
    """The settings of hydra.sweeper, where Optuna is installed; raises ConfigError."""
    values: Any = OmegaConf.to_container(node)
    ConfigError.raise_for(_problems(values))
    seed = values["sampler"].pop("seed", None)
    try:
        sampler = instantiate(values["sampler"], _partial_=True)
        sampler(seed=0)  # which says whether it knows its keys
        pruner = instantiate(values["pruner"])
    except Exception as error:
        what = str(error.__cause__ or error).partition("\n")[0]
        raise ConfigError(Problem("hydra.sweeper", what, "see docs/sweeps.md")) from error
    return SearchSettings(
        **{n: values[n] for n in NAMES}, seed=seed, sampler=sampler, pruner=pruner
    )


def _problems(values: dict[str, Any]) -> Iterator[Problem]:
    if gone := [key for key in (*NAMES, "direction", "sampler", "pruner") if key not in values]:
        for key in gone:
            yield Problem(f"hydra.sweeper.{key}", "cannot be left out", "leave its ~ out")
        return
    for key, example in (("n_trials", 20), ("n_jobs", 2)):
        if type(values[key]) is not int or values[key] < 1:
            what = f"{values[key]} is no whole number above 0"
            yield Problem(f"hydra.sweeper.{key}", what, f"hydra.sweeper.{key}={example}")
    if values["direction"] != "minimize":
        what = f"{values['direction']}, and a validation loss is to be small"
        yield Problem("hydra.sweeper.direction", what, "leave it out")
    for key, known in (("sampler", "random"), ("pruner", "median")):
        if not isinstance(values[key], dict):
            fix = f"choose one as in hydra/sweeper/{key}={known}"
            yield Problem(f"hydra.sweeper.{key}", f"{values[key]} is no group of keys", fix)
    seed = values["sampler"].get("seed") if isinstance(values["sampler"], dict) else None
    if type(seed) not in (int, type(None)):
        key = "hydra.sweeper.sampler.seed"
        yield Problem(key, f"{seed} is no whole number", f"{key}=1, or null for any")
    for key in ("study_name", "storage"):
        if not isinstance(values[key], str | None):
            what = f"{values[key]} is no text"
            yield Problem(f"hydra.sweeper.{key}", what, f"hydra.sweeper.{key}='\"TEXT\"'")


@dataclass(frozen=True)
class Choices:
    """A key that takes one of some values, in any order."""

    key: str
    values: tuple[str, ...]  # as they are typed

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that show whether the key can take them."""
        return self.values

    def text(self, value: Any) -> str:
        """A value as one would type it."""
        return str(value)


@dataclass(frozen=True)
class Interval:
    """A key that takes a number from `low` to `high`, both included; whole where these are."""

    key: str
    low: float
    high: float
    step: float | None = None
    log: bool = False  # whether equal ratios, and not equal differences, are equally likely

    @property
    def whole(self) -> bool:
        """Whether it takes whole numbers alone."""
        return isinstance(self.low, int)

    @property
    def ends(self) -> tuple[float, ...]:
        """The values that show whether the key can take them."""
        return (self.low, self.high)

    def text(self, value: Any) -> str:
        """A value as one would type it: a fraction with DIGITS digits."""
        if self.whole:
            return str(int(value))
        if self.step is not None:  # of which a binary fraction misses by a little
            return f"{value:.12g}"
        return f"{min(max(float(f'{value:.{DIGITS}g}'), self.low), self.high):.12g}"


Dimension: TypeAlias = Choices | Interval


@dataclass(frozen=True)
class Space:
    """What a search varies, and the overrides that all of its trials have."""

    fixed: list[str]
    dimensions: list[Dimension]

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides that a trial has beside the fixed ones, by the values of its keys."""
        return [f"{d.key}={d.text(values[d.key])}" for d in self.dimensions]

    @cached_property
    def corners(self) -> list[list[str]]:
        """The overrides of enough points to see whether each key can take its values."""
        first = {d.key: d.ends[0] for d in self.dimensions}
        rest = [first | {d.key: end} for d in self.dimensions for end in d.ends[1:]]
        return [[*self.fixed, *self.words(values)] for values in [first, *rest]]


def space(
    loader: ConfigLoader, params: Mapping[str, Any] | None, overrides: Sequence[str]
) -> Space:
    """The space of a command and of a file's `params`, over which it wins; raises ConfigError."""
    by_key = {o.get_key_element(): o for o in parsed(loader, params, overrides)}
    searched = [override for override in by_key.values() if override.is_sweep_override()]
    if not searched:
        fix = "give a key values, as in 'optim.lr=tag(log,interval(1e-4,1e-1))'"
        raise ConfigError(Problem("hydra/sweeper=optuna", "nothing to search over", fix))
    if any(override.key_or_group == "name" for override in searched):
        what = "the runs of a search lie in one folder, beside its study"
        raise ConfigError(Problem("name", what, "name=NAME"))
    if any(override.key_or_group.partition(".")[0] == "tokenizer" for override in searched):
        what = "a search goes by losses per token, which compare within one tokenizer alone"
        raise ConfigError(Problem("tokenizer", what, "one tokenizer, and a search for each"))
    for override in searched:
        key = override.key_or_group
        if key in ("data", "data.path", "data.asset", *JUDGES) or key.startswith(PARTS):
            what = "a search goes by losses, which compare on one text, judged in one way, alone"
            raise ConfigError(Problem(key, what, "one value, and a search for each"))
    fixed = single(override for override in by_key.values() if not override.is_sweep_override())
    return Space(fixed, [_dimension(override) for override in searched])


def _dimension(override: Override) -> Dimension:
    """What one key is searched over; raises ConfigError."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return _interval(key, value)
    ConfigError.raise_for(holds_nothing([override]))
    if isinstance(value, RangeSweep):
        numbers = sorted(float(n) for n in override.sweep_string_iterator())
        step = abs(value.step)
        if all(isinstance(part, int) for part in (value.start, value.stop, value.step)):
            return Interval(key, int(numbers[0]), int(numbers[-1]), step)
        return Interval(key, numbers[0], numbers[-1], float(step))
    return Choices(key, tuple(dict.fromkeys(override.sweep_string_iterator())))


def _interval(key: str, value: IntervalSweep) -> Interval:
    low, high, log = value.start, value.end, "log" in value.tags
    assert low is not None
    assert high is not None
    kind = kind_of(key.lstrip("+"))
    types = get_args(kind) or (kind,)
    whole = int in types or (float not in types and isinstance(low, int) and isinstance(high, int))
    if not (math.isfinite(low) and math.isfinite(high)) or low > high or (log and low <= 0):
        wanted = "the lower end first, above 0" if log else "the lower end first"
        raise ConfigError(Problem(key, f"interval({low},{high}) is none", f"{wanted}, and finite"))
    if whole and math.ceil(low) > math.floor(high):
        what = f"no whole number is in interval({low},{high})"
        fix = f"whole ends, as in {key}=interval({math.ceil(low)},{math.ceil(low) + 1})"
        raise ConfigError(Problem(key, what, fix))
    if whole:
        return Interval(key, math.ceil(low), math.floor(high), log=log)
    return Interval(key, float(low), float(high), log=log)
