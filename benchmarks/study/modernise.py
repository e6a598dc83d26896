"""What each switch buys: paired differences by seed, each side at its own best learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.certify import LR, value_of
from benchmarks.study.lines import Line
from benchmarks.study.tables import Section, best_of, counted, forest, table, told
from gptexp.analysis.groups import Statistic, gathered, statistic
from gptexp.report import style

CHAIN = ("gpt2", "rope", "rmsnorm", "no_bias", "relu2", "qk_norm", "modern")  # each on the last
BEYOND = (  # each on `modern`
    *("swiglu", "kv_heads", "window", "head_gate", "value_residual", "softcap", "untied"),
    "embd_norm",
)
PARENTS = dict(zip(CHAIN[1:], CHAIN, strict=False)) | dict.fromkeys(BEYOND, "modern")
GROUP = "+sweeps/change="


@dataclass(frozen=True)
class Change:
    """The runs of one switch at its best learning rate."""

    name: str
    lr: float
    edge: bool  # of the rates that were tried
    by_seed: dict[int, Line]

    @property
    def mean(self) -> Statistic | None:
        return best_of(self.by_seed.values())


def section(lines: Sequence[Line], points: int) -> Section:
    """The section of the page."""
    changes = {}
    for name in (CHAIN[0], *PARENTS):
        mine = [line for line in lines if line.done and name_of(line) == name]
        if mine:
            changes[name] = change(name, mine)
    steps = {name: over(changes, name, parent) for name, parent in PARENTS.items()}
    rows = [
        (
            name,
            PARENTS.get(name, ""),
            f"{one.lr:g}{' (edge)' if one.edge else ''}",
            told(one.mean),
            told(steps.get(name), sign=True),
            verdict(steps.get(name)),
        )
        for name, one in changes.items()
    ]
    whole = over(changes, CHAIN[-1], CHAIN[0])
    text = [counted(lines, points), ""]
    if not rows:
        return Section(text)
    head = ("switch", "on", "best lr", "best loss", "difference", "")
    text += table(head, rows, words=2)
    if whole is not None:
        text += ["", f"All of `{CHAIN[1]}` to `{CHAIN[-1]}`: {told(whole, sign=True)} nats."]
    shown = {name: step for name, step in steps.items() if step is not None}
    if not shown:
        return Section(text)
    figure, axes = style.canvas((7.0, 4.5))
    names = [f"{name} on {PARENTS[name]}" for name in shown]
    forest(axes, names, list(shown.values()), "difference of the best validation loss, nats")
    text += ["", f"![{described(shown)}](../results/study_modernise.png)"]
    return Section(text, {"study_modernise.png": figure})


def name_of(line: Line) -> str:
    """The switch of a line."""
    return next(w.removeprefix(GROUP) for w in line.overrides if w.startswith(GROUP)).strip("'\"")


def change(name: str, lines: Sequence[Line]) -> Change:
    """A switch at the learning rate with the lowest mean of its best losses."""
    rates = gathered(lines, lambda line: value_of(line, LR))

    def loss(lr: float) -> float:
        mean = best_of(rates[lr])
        assert mean is not None, "a rate has a line that is done"
        return mean.mean

    lr = min(rates, key=loss)
    edge = len(rates) < 3 or lr in (min(rates), max(rates))
    return Change(name, lr, edge, {seed_of(line): line for line in rates[lr]})


def over(changes: Mapping[str, Change], name: str, parent: str) -> Statistic | None:
    """The paired differences of two switches by seed; negative where `name` gains."""
    if name not in changes or parent not in changes:
        return None
    mine, theirs = changes[name].by_seed, changes[parent].by_seed
    seeds = sorted(mine.keys() & theirs.keys())
    return statistic(mine[s].best.loss - theirs[s].best.loss for s in seeds)  # type: ignore[union-attr, operator]


def verdict(step: Statistic | None) -> str:
    """What three seeds say of a switch."""
    if step is None:
        return ""
    if step.ci95 is None or abs(step.mean) <= step.ci95:
        return "not shown"
    return "gains" if step.mean < 0 else "loses"


def described(steps: Mapping[str, Statistic]) -> str:
    """The figure in words."""
    lowest = min(steps, key=lambda name: steps[name].mean)
    return (
        f"Differences of {len(steps)} switches with 95% intervals; "
        f"the largest gain is that of {lowest}, {steps[lowest].mean:+.3f}"
    )


def seed_of(line: Line) -> int:
    """The seed of a line, whose config holds what is no default."""
    return int(line.config.get("seed", 0))
