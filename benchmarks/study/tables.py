"""Numbers of lines in the words of a page: tables in Markdown, means with intervals, figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.study.lines import Line
from gptexp.analysis.groups import Statistic, statistic
from gptexp.report import style


@dataclass(frozen=True)
class Section:
    """What a study has on the page."""

    text: list[str]  # lines of Markdown
    figures: dict[str, Figure] = field(default_factory=dict)  # by file name


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> list[str]:
    """A table whose first `words` columns are words, and the others numbers."""
    rule = ["---" if number < words else "---:" for number in range(len(head))]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def told(mean: Statistic | None, sign: bool = False, digits: int = 4) -> str:
    """A mean with its 95% interval; empty without a value."""
    if mean is None:
        return ""
    value = f"{mean.mean:{'+' if sign else ''}.{digits}f}"
    return value if mean.ci95 is None else f"{value} ± {mean.ci95:.{digits}f}"


def best_of(lines: Iterable[Line]) -> Statistic | None:
    """The mean of the best losses, over seeds."""
    return statistic(line.best.loss for line in lines if line.best)


def counted(lines: Sequence[Line], points: int) -> str:
    """How many of a study's points there are lines of."""
    done = sum(line.done for line in lines)
    bad = [f"{line.state} {line.label}" for line in lines if not line.done]
    failed = f"; without a result: {', '.join(bad)}" if bad else ""
    whole = "all" if len(lines) == points else f"{len(lines)} of"
    return f"From the lines of {whole} {points} points, {done} done{failed}."


def forest(axes: Axes, labels: Sequence[str], means: Sequence[Statistic | None], what: str) -> None:
    """Means with their intervals, a row each, the first on top, beside a line at 0."""
    for place, mean in enumerate(means):
        if mean is not None:
            width = mean.ci95 or 0.0
            color = style.PALETTE[0]
            axes.errorbar(mean.mean, -place, xerr=width, fmt="o", color=color, capsize=2)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel(what)
