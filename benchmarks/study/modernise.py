"""What each switch buys: paired differences by seed, each side at its own best learning rate."""

from collections.abc import Mapping, Sequence

from benchmarks.study.changes import CHAIN, PARENTS, TAKEN_OUT, change, name_of, over, verdict
from benchmarks.study.lines import Line
from benchmarks.study.tables import Section, counted, forest, table, told
from gptexp.analysis.groups import Statistic
from gptexp.report import style


def section(lines: Sequence[Line], points: int) -> Section:
    """The section of the page."""
    changes = {}
    for name in (CHAIN[0], *PARENTS):
        mine = [line for line in lines if line.done and name_of(line.overrides) == name]
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
            verdict(steps.get(name)) + ("; taken out" if name in TAKEN_OUT else ""),
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


def described(steps: Mapping[str, Statistic]) -> str:
    """The figure in words."""
    lowest = min(steps, key=lambda name: steps[name].mean)
    return (
        f"Differences of {len(steps)} switches with 95% intervals; "
        f"the largest gain is that of {lowest}, {steps[lowest].mean:+.3f}"
    )
