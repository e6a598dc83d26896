"""Two folders of runs, point by point: the paired difference of their best validation losses.

A point is a seed, with the values of what else varies in the folders: with lr and the seed where
each of the two holds the same grid of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from gptexp.analysis import groups, records
from gptexp.analysis.groups import Statistic, gathered
from gptexp.analysis.labels import telling, words_of
from gptexp.analysis.records import Run
from gptexp.analysis.units import BITS, NATS, in_bits, unit
from gptexp.errors import ConfigError, Problem
from gptexp.text import aligned, in_shell, listed

Point = tuple[Any, ...]  # the values of the keys that runs are paired by


@dataclass(frozen=True)
class Pair:
    """Two runs of one point that are both done."""

    runs: tuple[Run, Run]
    losses: tuple[float, float]  # best validation losses

    @property
    def difference(self) -> float:
        """The second minus the first."""
        return self.losses[1] - self.losses[0]


@dataclass(frozen=True)
class Paired:
    """Best validation losses of two folders, point by point."""

    groups: tuple[list[Run], list[Run]]
    keys: list[str]  # that a point has values of; the seed last
    pairs: list[Pair]  # in order of the points
    difference: Statistic  # of the second minus the first
    unpaired: list[str]  # points without a partner, a line each
    damaged: list[Problem]
    unit: str = NATS  # of the losses: BITS where the folders have several tokenizers


def pair(a: Path, b: Path) -> Paired:
    """Pair the runs of two folders that share the seed and what varies within the folders.

    Keys that follow from others of a folder are not asked for, and neither are those of which the
    folders have no value in common: in these the folders differ as wholes. The interval is
    Student's t over the differences, which leaves out what the two runs of a point have in common.
    Raises ConfigError when a point stands for several runs, or none is done in both.
    """
    (first, damaged), (second, more) = records.collect([a]), records.collect([b])
    if (told_in := unit([*first, *second])) == BITS:
        first, second = [*map(in_bits, first)], [*map(in_bits, second)]
    varied = dict.fromkeys([*telling(first), *telling(second)])
    keys = [key for key in varied if _values(first, key) & _values(second, key)] + ["seed"]
    best_of_each = f"gptexp diff {in_shell(f'best:{a}')} {in_shell(f'best:{b}')}"
    left = _by_point(a, first, keys, best_of_each)
    right = _by_point(b, second, keys, best_of_each)
    pairs, unpaired = [], []
    points = left.keys() | right.keys()
    for point in sorted(points, key=lambda values: [*map(groups.sort_key, values)]):
        runs = [by_point[point] for by_point in (left, right) if point in by_point]
        losses = [run.best for run in runs if run.best is not None]
        if len(losses) == 2:
            pairs.append(Pair((runs[0], runs[1]), (losses[0], losses[1])))
            continue
        why = ", ".join(f"{run.path} {_lack(run)}" for run in runs if run.best is None)
        if len(runs) == 1:
            why = f"only in {a if point in left else b}"
        unpaired.append(f"{_words(runs[0], keys)} unpaired: {why}")
    difference = groups.statistic(pair.difference for pair in pairs)
    if difference is None:
        noun = "point" if len(keys) > 1 else "seed"
        what = f"no {noun} is done in both ({listed(unpaired)})"
        raise ConfigError(Problem(f"{a} and {b}", what, f"run the same {noun}s in both"))
    damaged = [*damaged, *more]
    return Paired((first, second), keys, pairs, difference, unpaired, damaged, told_in)


def report(a: Path, b: Path) -> tuple[list[str], list[Problem]]:
    """The pairs, their mean difference with its interval, and what else differs, as lines to print.

    With what is damaged.
    """
    paired = pair(a, b)
    first, second = paired.groups
    lines = [
        f"a  {a}  ({len(first)} runs)",
        f"b  {b}  ({len(second)} runs)",
        *aligned([("config", "a", "b"), *_config(paired)]),
        "",
        *_table(paired),
        "",
        *_by_group(paired),
        _conclusion(paired.difference, paired.unit),
    ]
    everyone = [*first, *second]
    notes = [*paired.unpaired, *_uneven(paired), *groups.capped(everyone)]
    notes += groups.strangers(everyone)[1]
    return [*lines, "", *notes] if notes else lines, paired.damaged


def _table(paired: Paired) -> list[str]:
    rows = [
        (
            *(str(pair.runs[0].config.get(key)) for key in paired.keys),
            *(f"{loss:.4f}" for loss in pair.losses),
            f"{pair.difference:+.4f}",
        )
        for pair in paired.pairs
    ]
    head = (*paired.keys, "a", "b", "b - a")
    return aligned([head, *rows], [True] * len(head))


def _by_group(paired: Paired) -> list[str]:
    """The mean difference of each group of seeds, and an empty line; none for a single group."""
    keys = paired.keys[:-1]
    together = gathered(
        paired.pairs, lambda pair: tuple(str(pair.runs[0].config.get(key)) for key in keys)
    )
    if len(together) in (1, len(paired.pairs)):
        return []
    rows = []
    for values, pairs in together.items():
        mean = groups.statistic(pair.difference for pair in pairs)
        assert mean is not None, "a group has a pair"
        within = "" if mean.ci95 is None else f"± {mean.ci95:.4f}"
        rows.append((*values, str(mean.n), f"{mean.mean:+.4f}", within))
    head = (*keys, "pairs", "b - a", "95%")
    return [*aligned([head, *rows], [True] * len(head)), ""]


def _conclusion(difference: Statistic, unit: str) -> str:
    what = f"best validation loss, b - a: {difference.mean:+.4f}"
    if difference.ci95 is None:
        return f"{what} {unit}; one pair gives no interval"
    return f"{what} ± {difference.ci95:.4f} {unit} (95%, {difference.n} pairs)"


def _config(paired: Paired) -> list[tuple[str, ...]]:
    """Rows of the keys in which the folders or the runs of a pair differ, with all their values."""
    first, second = paired.groups
    rows = []
    for key in records.differing([*first, *second]):
        a, b = ({run.config.get(key) for run in runs} for runs in paired.groups)
        if key != "seed" and (a != b or _pairs_apart(paired, key)):
            words = (listed(sorted(values, key=groups.sort_key)) for values in (a, b))
            rows.append((f"  {key}", *words))
    return rows or [("  the same", "", "")]


def _uneven(paired: Paired) -> list[str]:
    """Lines about keys that can change a result, in which some pairs differ and others do not."""
    identities = [run.identity() for pair in paired.pairs for run in pair.runs]
    counts = {key: _pairs_apart(paired, key) for key in dict.fromkeys(chain(*identities))}
    whole = len(paired.pairs)
    return [
        f"{key} differs in {count} of {whole} pairs"
        for key, count in counts.items()
        if 0 < count < whole
    ]


def _pairs_apart(paired: Paired, key: str) -> int:
    """How many of the pairs differ in the key."""
    return sum(len(_values(pair.runs, key)) > 1 for pair in paired.pairs)


def _values(runs: Sequence[Run], key: str) -> set[Any]:
    return {_value(run, key) for run in runs}


def _value(run: Run, key: str) -> Any:
    """The value of a key, and of a path what it holds."""
    return run.data_sha256 if key == "data.path" else run.config.get(key)


def _words(run: Run, keys: Sequence[str]) -> str:
    """The point of a run, as `lr=0.1 seed 0`."""
    *others, _ = keys
    words = words_of(others, [run.config.get(key) for key in others])
    return " ".join([*words, f"seed {run.seed}"])


def _by_point(
    folder: Path, runs: Sequence[Run], keys: Sequence[str], otherwise: str
) -> dict[Point, Run]:
    """The runs by point.

    Raises ConfigError where a point stands for several runs: with the keys that vary and that no
    point has a value of, and `otherwise` as the fix.
    """
    points: dict[Point, Run] = {}
    for run in runs:
        point = tuple(_value(run, key) for key in keys)
        if (other := points.setdefault(point, run)) is run:
            continue
        what = f"{_words(run, keys)} is that of several runs, {other.path.name} and {run.path.name}"
        if causes := [key for key in telling(runs) if key not in keys]:
            what += f": no value of {', '.join(causes)} is in both folders"
        fix = otherwise if causes else "name a folder with one of them"
        raise ConfigError(Problem(folder, what, fix))
    return points


def _lack(run: Run) -> str:
    """Why a run has no best loss, in words."""
    return "has no finite loss" if run.done else run.state
