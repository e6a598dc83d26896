"""Size and data: certified rates, best losses and cliffs by cell, the laws, their prediction."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.study.certify import DECAY, FRACTION, LR, WIDTH, best, value_of
from benchmarks.study.laws import Foretold, compared, fitted, foretold
from benchmarks.study.lines import Line
from benchmarks.study.tables import Section, best_of, counted, table, told
from gptexp.analysis.groups import gathered, statistic
from gptexp.report import style

LAW = "overfitting"  # the one whose prediction of model=medium is told


def section(lines: Sequence[Line], points: int) -> Section:
    """The section of the page; `lines` are of both sweeps."""
    rates = [line for line in lines if line.stage == "flagship_rates"]
    main = [line for line in lines if line.stage == "flagship"]
    text = [counted(lines, points), "", *certificates(rates)]
    figures = {}
    if any(line.done for line in main):
        text += ["", *cells(main)]
        text += ["", "![Best loss over characters, by size](../results/study_flagship.png)"]
        figures["study_flagship.png"] = drawn(main)
    judged = fitted(main)
    if not judged:
        return Section([*text, "", "Laws are fitted once most cells are there."], figures)
    text += ["", *compared(judged)]
    for one in judged:
        if one.fit.law.name == LAW:
            text += ["", words_of(foretold(one))]
    return Section(text, figures)


def certificates(rates: Sequence[Line]) -> list[str]:
    """The best rates of the texts whose grid has begun, and how much of it is there."""
    together = gathered(rates, lambda line: (value_of(line, WIDTH), value_of(line, FRACTION)))
    rows = []
    for _, mine in sorted(together.items()):
        found = best(mine)
        if found is None:
            continue
        done = [line for line in mine if line.done]
        lowest = min(line.best.loss for line in done)  # type: ignore[union-attr, type-var]
        rows.append(
            (
                f"{done[0].params:,}",
                f"{done[0].unique:,.0f}",
                str(len(mine)),
                f"{found.lr:g}",
                f"{found.decay:g}",
                f"{lowest:.4f}",
                f"{spread(done):.4f}",
                ", ".join(found.edges),
            )
        )
    if not rows:
        return ["No learning rate is certified yet."]
    head = (
        *("parameters", "characters", "points", "best lr", "best weight decay", "best loss"),
        *("worst - best", ""),
    )
    return table(head, rows, words=0)


def spread(lines: Sequence[Line]) -> float:
    """How much the rates of a grid matter: the highest best loss less the lowest."""
    losses = [line.best.loss for line in lines if line.best and line.best.loss is not None]
    return max(losses) - min(losses)


def cells(main: Sequence[Line]) -> list[str]:
    """A row for each size and text: best loss, where the cliff begins, how high it is."""
    done = [line for line in main if line.done]
    rows = []
    together = gathered(done, lambda line: (line.params or 0, line.unique or 0.0))
    for (params, unique), mine in sorted(together.items()):
        onsets = [onset(line) for line in mine]
        height = statistic(line.cliff.height for line in mine if line.cliff)
        rows.append(
            (
                f"{params:,}",
                f"{unique:,.0f}",
                f"{value_of(mine[0], LR):g}",
                f"{value_of(mine[0], DECAY):g}",
                mine[0].marks.get("rates", "certified"),
                str(len(mine)),
                told(best_of(mine)),
                told(statistic(onsets), digits=1) if None not in onsets else "",
                told(height),
            )
        )
    head = (
        *("parameters", "characters", "lr", "weight decay", "rates", "seeds", "best loss"),
        *("onset, epochs", "height"),
    )
    return table(head, rows, words=0)


def onset(line: Line) -> float | None:
    """The epoch at which the cliff begins; None without one."""
    if line.cliff is None or line.cliff.onset is None or not line.unique:
        return None
    tokens = next((row[1] for row in line.curve if row[0] == line.cliff.onset), None)
    return None if tokens is None else tokens / line.unique


def drawn(main: Sequence[Line]) -> Figure:
    """The best loss over the characters, a curve for each size."""
    figure, axes = style.canvas((7.0, 4.2))
    sizes = sorted(gathered([x for x in main if x.done], lambda x: x.params or 0).items())
    for number, (params, mine) in enumerate(sizes):
        texts = sorted(gathered(mine, lambda line: line.unique or 0.0).items())
        means = [best_of(each) for _, each in texts]
        axes.errorbar(
            [unique for unique, _ in texts],
            [mean.mean for mean in means if mean],
            [mean.ci95 or 0.0 for mean in means if mean],
            fmt="o-",
            capsize=2,
            color=style.PALETTE[number % len(style.PALETTE)],
            label=f"{params:,} parameters",
        )
    axes.set_xscale("log")
    axes.set_xlabel("characters of training text")
    axes.set_ylabel("best validation loss, nats")
    axes.legend(fontsize=7, frameon=False)
    return figure


def words_of(found: Foretold) -> str:
    """The prediction of a law beside the claim."""
    (low, step, high), (least, loss, most) = found.step, found.loss
    return (
        "Of 10.8 million parameters on the whole text, 16,384 tokens a step, the "
        f"`{LAW}` law says: lowest at step {step:,.0f} ({low:,.0f} to {high:,.0f}), a loss of "
        f"{loss:.3f} ({least:.3f} to {most:.3f}), and {found.end:.3f} at step 5,000. The claim is "
        "1.57 to 1.64 at step 1,500 to 2,500."
    )
