"""What weight decay, dropout, an average and the order of windows do to the cliff."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.certify import DECAY, value_of
from benchmarks.study.changes import seed_of
from benchmarks.study.lines import Line
from benchmarks.study.tables import Section, counted, forest, table, told
from gptexp.analysis.groups import Statistic, gathered, statistic
from gptexp.report import style

DROPOUT, SAMPLING = "model.dropout", "data.sampling"
WHOLE = "regularise_whole"  # the sweep over the whole text
AGAINST = (0.01, 0.1)  # weight decays beside which the overfitting term of larger ones is told
LEAST = 1e-3  # nats: what logarithms take anything smaller for

READ = (
    "Differences are taken between runs that share all else, averaged within a seed, and the "
    "intervals are over seeds, where there are several. The height is what the last loss is above "
    "the best."
)
READ_TERMS = (
    "The overfitting term is what the last loss is above that on the whole text after as many "
    "steps, without dropout and with windows at random; its changes are taken within a seed."
)


@dataclass(frozen=True)
class Cell:
    """What a run regularises by."""

    decay: float
    dropout: float
    epochs: bool  # windows by epochs

    @classmethod
    def of(cls, line: Line) -> "Cell":
        dropout = float(line.config.get(DROPOUT, 0.0))
        return cls(value_of(line, DECAY), dropout, line.config.get(SAMPLING) == "epoch")


@dataclass(frozen=True)
class Contrast:
    """Two values of a factor, and by whichever else runs are paired."""

    words: str
    apart: Callable[[Cell], tuple[bool, bool]]  # whether a cell has the first, or the second value
    rest: Callable[[Cell], Hashable]  # all but that factor


def decays(value: float, against: float) -> Contrast:
    return Contrast(
        f"weight decay {value:g} against {against:g}",
        lambda cell: (cell.decay == against, cell.decay == value),
        lambda cell: (cell.dropout, cell.epochs),
    )


def dropouts(value: float) -> Contrast:
    return Contrast(
        f"dropout {value:g} against none",
        lambda cell: (cell.dropout == 0, cell.dropout == value),
        lambda cell: (cell.decay, cell.epochs),
    )


CONTRASTS = (
    *(decays(value, 0.01) for value in (0.1, 1.0, 3.0)),
    decays(1.0, 0.1),
    *(dropouts(value) for value in (0.1, 0.3)),
    Contrast(
        "windows by epochs against at random",
        lambda cell: (not cell.epochs, cell.epochs),
        lambda cell: (cell.decay, cell.dropout),
    ),
)


def section(lines: Sequence[Line], points: int) -> Section:
    """The section of the page."""
    done = [line for line in lines if line.done]
    whole = [line for line in done if line.stage == WHOLE]
    texts = gathered([line for line in done if line.stage != WHOLE], text_of)
    rows, drawn, terms = [], {}, []
    for size, mine in sorted(texts.items()):
        for contrast in CONTRASTS:
            best, height = effects(contrast, mine)
            if best is not None:
                rows.append((f"{size:,.0f}", contrast.words, told(best, sign=True), share(height)))
                drawn[f"{contrast.words}, {size:,.0f}"] = best
        rows.append((f"{size:,.0f}", *of_average(mine)))
        terms += [(f"{size:,.0f}", *row) for row in terms_of(mine, whole)]
    text = [counted(lines, points)]
    if rows:
        head = ("characters", "", "best loss, difference", "height of the cliff, change")
        text += ["", *table(head, rows, words=2), "", READ]
    if terms:
        head = ("characters", "", "overfitting term", *(f"against {one:g}" for one in AGAINST))
        text += ["", *table(head, terms, words=2), "", READ_TERMS]
    if not drawn:
        return Section(text)
    figure, axes = style.canvas((8.0, 0.6 + 0.28 * len(drawn)))
    forest(axes, list(drawn), list(drawn.values()), "difference of the best loss, nats")
    alt = f"{len(drawn)} differences of the best loss"
    text += ["", f"![{alt}](../results/study_regularise.png)"]
    return Section(text, {"study_regularise.png": figure})


def text_of(line: Line) -> float:
    """The size of a line's training text, in characters."""
    assert line.unique is not None, "a line that is done has it"
    return line.unique


def effects(contrast: Contrast, lines: Sequence[Line]) -> tuple[Statistic | None, Statistic | None]:
    """What the second value does beside the first: to the best loss, and to the log height."""
    sides: tuple[dict[Hashable, Line], dict[Hashable, Line]] = ({}, {})
    for line in lines:
        cell = Cell.of(line)
        for side, belongs in zip(sides, contrast.apart(cell), strict=True):
            if belongs:
                side[seed_of(line), contrast.rest(cell)] = line
    pairs = [(sides[0][key], sides[1][key]) for key in sides[0].keys() & sides[1].keys()]
    best = by_seed(pairs, lambda a, b: b.best.loss - a.best.loss)
    height = by_seed(pairs, lambda a, b: log_height(b) - log_height(a))
    return statistic(best), statistic(height)


def of_average(lines: Sequence[Line]) -> tuple[str, str, str]:
    """The row of the average beside the weights of the same run."""
    best = statistic(by_seed(lines, lambda a: a.average.loss - a.best.loss))
    height = statistic(by_seed(lines, height_of_average))
    return "the average against the weights", told(best, sign=True), share(height)


def terms_of(lines: Sequence[Line], whole: Sequence[Line]) -> list[tuple[str, ...]]:
    """A row for each weight decay: its overfitting term, and the change against others."""
    once = {(Cell.of(line), seed_of(line)): line for line in whole}
    found: dict[float, dict[int, float]] = {}  # by decay and seed
    for line in lines:
        cell, seed = Cell.of(line), seed_of(line)
        if (cell, seed) in once and (term := overfitting(line, once[cell, seed])) is not None:
            found.setdefault(cell.decay, {})[seed] = term
    rows = []
    for decay, terms in sorted(found.items()):
        of_others = (log_ratio(terms, found.get(other, {})) for other in AGAINST if other < decay)
        changes = [share(change) for change in of_others]
        changes += [""] * (len(AGAINST) - len(changes))
        term = told(statistic(terms.values()), digits=3)
        rows.append((f"weight decay {decay:g}", term, *changes))
    return rows


def overfitting(line: Line, whole: Line) -> float | None:
    """What the last loss is above that on the whole text after as many steps.

    The term P (R - 1)^delta (N/U)^kappa of the law `overfitting`, without a form: the other terms
    are the same in both runs. Its R of the whole text is small, and taken for 1.
    """
    assert line.final is not None
    for step, _, loss, _ in whole.curve:
        if step == line.final.step and loss is not None and line.final.loss is not None:
            return line.final.loss - loss
    return None


def log_ratio(terms: Mapping[int, float], others: Mapping[int, float]) -> Statistic | None:
    """The logarithm of terms over others of the same seeds, each of LEAST at least."""
    seeds = terms.keys() & others.keys()
    return statistic(math.log(max(terms[s], LEAST) / max(others[s], LEAST)) for s in seeds)


def by_seed(items: Sequence[object], value: Callable[..., float]) -> list[float]:
    """The mean of a value over the items of each seed: lines, or pairs of them."""
    pairs = [item if isinstance(item, tuple) else (item,) for item in items]
    found = gathered(pairs, lambda pair: seed_of(pair[0]))
    means = (statistic(value(*pair) for pair in mine) for mine in found.values())
    return [mean.mean for mean in means if mean is not None]


def log_height(line: Line) -> float:
    """The logarithm of the height of the cliff, of one of LEAST at least."""
    return math.log(max(line.cliff.height if line.cliff else 0.0, LEAST))


def height_of_average(line: Line) -> float:
    """The log height of the average's cliff over that of the weights."""
    curve = [loss for loss in line.average_curve if loss is not None]
    return math.log(max(curve[-1] - min(curve), LEAST)) - log_height(line) if curve else 0.0


def share(mean: Statistic | None) -> str:
    """A mean difference of logarithms as a change in percent, with its interval."""
    if mean is None:
        return ""
    if mean.ci95 is None:
        return percent(mean.mean)
    low, high = (percent(mean.mean + sign * mean.ci95) for sign in (-1, 1))
    return f"{percent(mean.mean)} ({low} to {high})"


def percent(log: float) -> str:
    """A logarithm of a ratio as a change in percent."""
    return f"{100 * math.expm1(log):+.0f}%" if log < math.log(10) else "ten times"
