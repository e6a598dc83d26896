"""Runs that differ in their seed alone, as groups with means and intervals; and odd ones out."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from gptexp.analysis.records import Run, mixed
from gptexp.errors import ConfigError
from gptexp.text import listed, plain, plural, unknown_name

# Of a Run, to take means of.
FIGURES = ("best", "bpb", "accuracy", "best_step", "final", "height", "test")

CONFIDENCE = 0.95

TEXT_KEYS = ("data.name", "data.asset", "data.path")  # that choose a text

Item = TypeVar("Item")

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Statistic:
    """A mean over seeds, in the unit of the values."""

    n: int  # values
    mean: float
    ci95: float | None  # half the width of the 95% confidence interval; None with one value


@dataclass(frozen=True)
class Group:
    """The runs with the same values of the keys that the table is by."""

    values: tuple[Any, ...]  # of those keys
    runs: list[Run]
    missing: list[Any]  # seeds that other groups have

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.done]

    @property
    def expected(self) -> int:
        """The number of runs there would be were the group complete."""
        return len(self.runs) + len(self.missing)

    def marks(self) -> list[str]:
        """Reasons why means are not over all runs, or not over seeds alone; such as `failed 1`."""
        states = Counter(run.state for run in self.runs if not run.done)
        marks = [f"{state} {count}" for state, count in states.items()]
        marks += [f"missing {len(self.missing)}"] if self.missing else []
        if no_best := sum(run.best is None for run in self.done):
            marks.append(f"not finite {no_best}")
        return marks + (["mixed"] if mixed(self.runs) or self.repeated() else [])

    def repeated(self) -> list[Any]:
        """Seeds of more than one run."""
        return [seed for seed, count in Counter(run.seed for run in self.runs).items() if count > 1]

    def statistic(self, figure: str) -> Statistic | None:
        """Mean and interval of one of FIGURES, over the finished runs with a finite value."""
        return statistic(getattr(run, figure) for run in self.done)

    def params(self) -> int | None:
        """The number of parameters of the finished runs; None when they differ."""
        counts = {run.params for run in self.done}
        return counts.pop() if len(counts) == 1 else None


def statistic(values: Iterable[float | None]) -> Statistic | None:
    """Mean and 95% confidence interval of the mean: t(0.975, n - 1) s / sqrt(n).

    Student, "The probable error of a mean", Biometrika 6 (1908); s is the standard deviation with
    n - 1 below. None among the values is left out; without any value there is no mean.
    """
    numbers = [value for value in values if value is not None]
    n = len(numbers)
    if not n:
        return None
    mean = math.fsum(numbers) / n
    if n == 1:
        return Statistic(n, mean, None)
    from scipy.special import stdtrit  # scipy.stats takes half a second to import

    variance = math.fsum((value - mean) ** 2 for value in numbers) / (n - 1)
    t = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    return Statistic(n, mean, t * math.sqrt(variance / n))


def group(runs: Sequence[Run], by: Sequence[str]) -> list[Group]:
    """The runs with the same values of the keys in `by` together, in order of these values.

    Raises ConfigError for a key that no run has.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.config))
    ConfigError.raise_for(unknown_name("--by", key, known) for key in by if key not in known)
    together = gathered(runs, lambda run: tuple(run.config.get(key) for key in by))
    seeds = [] if "seed" in by else sorted({run.seed for run in runs}, key=sort_key)
    groups = []
    for values in sorted(together, key=lambda values: [sort_key(value) for value in values]):
        members = sorted(together[values], key=lambda run: sort_key(run.seed))
        present = {run.seed for run in members}
        groups.append(Group(values, members, [seed for seed in seeds if seed not in present]))
    return groups


def gathered(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """The items with the same key together, by that key, in the order in which they come."""
    together: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        together[key(item)].append(item)
    return dict(together)


def notes(groups: Sequence[Group], by: Sequence[str]) -> list[str]:
    """Lines that say what is missing from which group, and what groups mix."""
    lines = []
    for group in groups:
        name = label(by, group.values)
        for run in group.runs:
            if not run.done:
                why = f": {run.reason}" if run.reason else ""
                lines.append(f"{name}: seed {run.seed} {run.state}{why} ({run.path})")
            elif run.best is None:
                lines.append(f"{name}: seed {run.seed} has no finite validation loss ({run.path})")
        lines += [f"{name}: seed {seed} is missing" for seed in group.missing]
    keys = dict.fromkeys(key for group in groups for key in mixed(group.runs))
    if keys:
        pronoun = "it" if len(keys) == 1 else "them"
        lines.append(f"groups mix values of {', '.join(keys)}: add {pronoun} to --by")
    for group in groups:
        if (twice := group.repeated()) and not mixed(group.runs):
            same = [run.path for run in group.runs if run.seed in twice]
            name = label(by, group.values)
            lines.append(f"{name}: one seed, several runs: {listed(same)}; name one folder of them")
    return lines


def strangers(runs: Sequence[Run]) -> tuple[dict[Path, list[str]], list[str]]:
    """Flags, by directory, of runs whose code, or text of one name, is not that of most; and notes.

    Most are more than half of those that say which they have. Where no code or text is that of
    most, a note alone says how many runs have each.
    """
    flags: dict[Path, list[str]] = defaultdict(list)
    lines = []
    texts = gathered(runs, lambda run: tuple(run.config.get(key) for key in TEXT_KEYS))
    for kind, members, digest in (
        *(("data", runs_of_text, "data_sha256") for runs_of_text in texts.values()),
        ("code", runs, "code"),
    ):
        together = gathered((run for run in members if getattr(run, digest)), attrgetter(digest))
        if len(together) < 2:
            continue
        first, *others = sorted(together.values(), key=len, reverse=True)
        odd = [run.path for runs_of_other in others for run in runs_of_other]
        if len(first) > len(odd):
            for path in odd:
                flags[path].append(f"other {kind}")
            lines.append(f"other {kind} than the rest: {len(odd)} of {len(members)}: {listed(odd)}")
        else:
            shares = [f"{len(same)} like {same[0].path}" for same in (first, *others)]
            versions = f"{len(shares)} versions of the {kind}"
            lines.append(f"{versions}, none of them that of most runs: {listed(shares)}")
    return flags, lines


def capped(runs: Sequence[Run]) -> list[str]:
    """A note of the runs whose evaluations in training are capped, and of what that concerns."""
    caps = sorted({run.judged for run in runs if run.judged is not None})
    if not caps:
        return []
    count = sum(run.judged is not None for run in runs)
    targets = listed([f"{cap:,}" for cap in caps])
    return [
        f"capped: evaluations in training judge {targets} validation targets, in {count} of "
        f"{plural(len(runs), 'run')}: by these are curves, best_step, and the losses of runs that "
        "are not done; best, final, height and test of those that are done are exact"
    ]


def label(by: Sequence[str], values: Sequence[Any]) -> str:
    """A group in words: each key with its value, or `all runs` where there is no key."""
    words = [f"{key}={plain(value)}" for key, value in zip(by, values, strict=True)]
    return " ".join(words) or "all runs"


def sort_key(value: Any) -> tuple[int, Any]:
    """A key for sorting that puts numbers first, then words, then None."""
    if value is None:
        return (2, 0)
    return (0, value) if isinstance(value, int | float) else (1, str(value))
