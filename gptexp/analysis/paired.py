"""Two groups of runs, seed by seed: the paired difference of their best validation losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptexp.analysis import groups, records
from gptexp.analysis.groups import Statistic
from gptexp.analysis.records import Run
from gptexp.errors import ConfigError, Problem
from gptexp.text import aligned


@dataclass(frozen=True)
class Paired:
    """Best validation losses of two groups, seed by seed; nats per token."""

    groups: tuple[list[Run], list[Run]]
    pairs: list[tuple[Any, float, float]]  # seed and the two losses
    difference: Statistic  # of the second minus the first
    notes: list[str]  # seeds without a partner, damaged runs


def pair(a: Path, b: Path) -> Paired:
    """Pair the runs of two folders by their seeds.

    The interval is Student's t over the differences, which leaves out what the seeds have in
    common. Raises ConfigError when a seed stands for several runs, or none is done in both.
    """
    (first, damaged), (second, more) = records.collect([a]), records.collect([b])
    left, right = _by_seed(a, first), _by_seed(b, second)
    pairs = []
    unpaired = []
    for seed in sorted(left.keys() | right.keys(), key=groups.sort_key):
        if seed not in left or seed not in right:
            unpaired.append(f"seed {seed} unpaired: only in {a if seed in left else b}")
            continue
        runs = (left[seed], right[seed])
        losses = [run.best for run in runs if run.best is not None]
        if len(losses) == 2:
            pairs.append((seed, losses[0], losses[1]))
            continue
        why = ", ".join(f"{run.path} {_lack(run)}" for run in runs if run.best is None)
        unpaired.append(f"seed {seed} unpaired: {why}")
    difference = groups.statistic(y - x for _, x, y in pairs)
    if difference is None:
        what = f"no seed is done in both ({'; '.join(unpaired)})"
        raise ConfigError(Problem(f"{a} and {b}", what, "run the same seeds"))
    return Paired((first, second), pairs, difference, [*unpaired, *map(str, [*damaged, *more])])


def report(a: Path, b: Path) -> list[str]:
    """The pairs, their mean difference with its interval, and what else differs, to print."""
    paired = pair(a, b)
    first, second = paired.groups
    pairs = [(str(s), f"{x:.4f}", f"{y:.4f}", f"{y - x:+.4f}") for s, x, y in paired.pairs]
    lines = [
        f"a  {a}  ({len(first)} runs)",
        f"b  {b}  ({len(second)} runs)",
        *aligned([("config", "a", "b"), *_config(first, second)]),
        "",
        *aligned([("seed", "a", "b", "b - a"), *pairs], [True] * 4),
        "",
        _conclusion(paired.difference),
    ]
    notes = [*paired.notes, *groups.strangers([*first, *second])[1]]
    for name, runs in (("a", first), ("b", second)):
        if keys := records.mixed(runs):
            notes.append(f"{name} mixes values of {', '.join(keys)}: more than the seed differs")
    return [*lines, "", *notes] if notes else lines


def _conclusion(difference: Statistic) -> str:
    what = f"best validation loss, b - a: {difference.mean:+.4f}"
    if difference.ci95 is None:
        return f"{what} nats per token; one pair gives no interval"
    return f"{what} ± {difference.ci95:.4f} nats per token (95%, {difference.n} pairs)"


def _config(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Rows of the keys whose values differ between the groups, with all values of each group."""
    rows = []
    for key in records.differing([*first, *second]):
        a, b = (dict.fromkeys(run.config.get(key) for run in runs) for runs in (first, second))
        if key != "seed" and a.keys() != b.keys():
            rows.append((f"  {key}", ", ".join(map(str, a)), ", ".join(map(str, b))))
    return rows or [("  the same", "", "")]


def _by_seed(folder: Path, runs: Sequence[Run]) -> dict[Any, Run]:
    """The runs by seed; raises ConfigError where a seed stands for several runs."""
    seeds: dict[Any, Run] = {}
    for run in runs:
        if (other := seeds.setdefault(run.seed, run)) is not run:
            both = f"{other.path.name} and {run.path.name}"
            what = f"seed {run.seed} is that of several runs, {both}"
            raise ConfigError(Problem(folder, what, "name a folder with one run for each seed"))
    return seeds


def _lack(run: Run) -> str:
    """Why a run has no best loss, in words."""
    return "has no finite loss" if run.done else run.state
