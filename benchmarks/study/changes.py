"""Switches and what each is compared with: paired differences by seed, at the best rate of each.

A switch is tried at three learning rates with three seeds. Where the largest of them is the best
the next is tried too, and where the difference is not shown, two more seeds of both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.certify import LR, value_of
from benchmarks.study.lines import Line
from gptexp.analysis.groups import Statistic, gathered, statistic

FIRST = 3  # learning rates, and seeds, of each switch before anything is known
CHAIN = ("gpt2", "rope", "rmsnorm", "no_bias", "relu2", "qk_norm", "modern")  # each on the last
BEYOND = (  # each on `modern`
    *("swiglu", "kv_heads", "window", "head_gate", "value_residual", "softcap", "untied"),
    "embd_norm",
)
TAKEN_OUT = ("head_gate", "value_residual", "softcap")  # no switches any more; their lines stay
PARENTS = dict(zip(CHAIN[1:], CHAIN, strict=False)) | dict.fromkeys(BEYOND, "modern")
GROUP = "+sweeps/change="
NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class Change:
    """The runs of one switch at its best learning rate."""

    name: str
    lr: float
    edge: bool  # of the rates that were tried
    by_seed: dict[int, Line]

    @property
    def mean(self) -> Statistic | None:
        return statistic(loss_of(line) for line in self.by_seed.values())


def name_of(overrides: Sequence[str]) -> str:
    """The switch that a point's overrides name."""
    return next(w.removeprefix(GROUP) for w in overrides if w.startswith(GROUP)).strip("'\"")


def of_taken_out(lines: Sequence[Line]) -> list[Line]:
    """The lines of switches that no point can have any more."""
    return [line for line in lines if name_of(line.overrides) in TAKEN_OUT]


def change(name: str, lines: Sequence[Line]) -> Change:
    """A switch at the learning rate with the lowest mean of the seeds that all its rates have."""
    rates = {
        lr: {seed_of(line): line for line in mine}
        for lr, mine in gathered(lines, lambda line: value_of(line, LR)).items()
    }
    seeds = set.intersection(*(set(mine) for mine in rates.values()))

    def loss(lr: float) -> float:
        some = seeds or rates[lr]
        return sum(loss_of(rates[lr][seed]) for seed in some) / len(some)

    lr = min(rates, key=loss)
    edge = len(rates) < 3 or lr in (min(rates), max(rates))
    return Change(name, lr, edge, rates[lr])


def wanted(grid: Mapping[tuple[str, float, int], str], lines: Mapping[str, Line]) -> set[str]:
    """The hashes of the points that these lines ask for, by switch, learning rate and seed."""
    rates = sorted({lr for _, lr, _ in grid})[:FIRST]
    seeds = sorted({seed for _, _, seed in grid})[:FIRST]
    first = {key: one for key, one in grid.items() if key[1] in rates and key[2] in seeds}
    asked = set(first.values())
    changes = {}
    for name in {name for name, _, _ in grid}:
        mine = [lines[one] for key, one in grid.items() if key[0] == name and one in lines]
        mine = [line for line in mine if line.done and seed_of(line) in seeds]
        if not mine or any(one not in lines for key, one in first.items() if key[0] == name):
            continue
        changes[name] = found = change(name, mine)
        higher = sorted({lr for other, lr, _ in grid if other == name and lr > found.lr})
        if higher:
            asked |= {grid[key] for key in grid if key[:2] == (name, higher[0]) and key[2] in seeds}
    for name, parent in PARENTS.items():
        if verdict(over(changes, name, parent)) == NOT_SHOWN:
            sides = {(name, changes[name].lr), (parent, changes[parent].lr)}
            asked |= {one for key, one in grid.items() if key[:2] in sides}
    return asked


def over(changes: Mapping[str, Change], name: str, parent: str) -> Statistic | None:
    """The paired differences of two switches by seed; negative where `name` gains."""
    if name not in changes or parent not in changes:
        return None
    mine, theirs = changes[name].by_seed, changes[parent].by_seed
    seeds = sorted(mine.keys() & theirs.keys())
    return statistic(loss_of(mine[seed]) - loss_of(theirs[seed]) for seed in seeds)


def verdict(step: Statistic | None) -> str:
    """What the seeds say of a switch."""
    if step is None:
        return ""
    if step.ci95 is None or abs(step.mean) <= step.ci95:
        return NOT_SHOWN
    return "gains" if step.mean < 0 else "loses"


def seed_of(line: Line) -> int:
    """The seed of a line, whose config holds what is no default."""
    return int(line.config.get("seed", 0))


def loss_of(line: Line) -> float:
    """The best loss of a line that is done."""
    assert line.best is not None and line.best.loss is not None, line.label
    return line.best.loss
