"""A fit in words and tables: what is not known or does not hold comes before the parameters."""

import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from gptexp.analysis.groups import gathered
from gptexp.analysis.render import Cells, text_lines
from gptexp.laws.bootstrap import LEVEL
from gptexp.laws.judge import Interval, JudgedLaw
from gptexp.laws.observed import Observations, Rejections
from gptexp.laws.points import Array
from gptexp.laws.power_law import LawOfOptima, NoLaw
from gptexp.laws.verdict import in_sample, narrowly, share, why_no_optimum, why_not
from gptexp.text import plural, short

WIDEST = 100  # columns of a paragraph

ERRORS = (
    "median errors: of the largest models and of the largest data, by fits without them; of what "
    "was fitted"
)

MOST_LABELS = 3  # of what is left out for one reason


def told(
    observed: Observations,
    judged: Sequence[JudgedLaw],
    of: str,
    best: Sequence[LawOfOptima | NoLaw] = (),
    lacking: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The fit of laws, the best first, to the points of a folder or table that goes by `of`.

    `best` are the laws of what is best, which follow; `lacking` says why some were not fitted.
    """
    parts = [
        [
            *paragraph(f"{of}: {counted(observed)}"),
            *paragraph(f"{observed.convention}, {observed.unit}"),
        ],
        [line for words in known(observed, judged, best, lacking) for line in paragraph(words)],
        *(_tables(observed, judged) if judged else []),
        *(_of_best(one) for one in best if isinstance(one, LawOfOptima)),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def left_out(rejected: Rejections) -> list[str]:
    """What is no point, by kinds of reason."""
    lines = []
    for kind, alike in gathered(rejected.first, lambda one: one.kind).items():
        count = rejected.counts[kind]
        if count == 1:
            lines.append(f"left out, {alike[0].reason} ({alike[0].label})")
        else:
            labels = ", ".join(one.label for one in alike[:MOST_LABELS])
            more = f" and {count - MOST_LABELS:,} more" if count > MOST_LABELS else ""
            lines.append(f"left out, {kind} ({count:,}): {labels}{more}")
    return lines


def counted(observed: Observations) -> str:
    """How many points there are, and how far they reach."""
    points, out = observed.points, len(observed.rejected)
    epochs = f"{points.epochs.max():.3g}"
    return (
        f"{plural(len(points), 'point')}{f' and {out:,} left out' if out else ''}; "
        f"{_range(points.n, 'size')} of {_between(points.n)} parameters, "
        f"{_range(points.tokens, 'length')} of {_between(points.tokens)} tokens, "
        f"at most {epochs} epoch{'' if epochs == '1' else 's'}"
    )


def _range(values: Array, noun: str) -> str:
    return plural(len(np.unique(values)), noun)


def _between(values: Array) -> str:
    low, high = (short(float(value), digits=3) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def known(
    observed: Observations,
    judged: Sequence[JudgedLaw],
    best: Sequence[LawOfOptima | NoLaw] = (),
    lacking: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """What a reader must know before the parameters, which are those of the first law."""
    lines = [*observed.notes, *left_out(observed.rejected)]
    for place, one in enumerate(judged):
        name = one.fit.law.name
        if why := why_not(one, observed.points):
            lines.append(f"{name} does not hold: {why}")
        if near := narrowly(one, observed.points):
            lines.append(f"{name}: a narrow verdict, which one seed may turn: {near}")
        reasons = one.unidentified.items()
        if unknown := [key if place else f"{key} ({reason})" for key, reason in reasons]:
            lines.append(f"{name} does not identify {', '.join(unknown)}")
    for side, reason in judged[0].not_held_out.items() if judged else ():
        lines.append(f"{judged[0].fit.law.name} is not tried on the largest {side}: {reason}")
    for reason, names in gathered(lacking, lambda name: lacking[name]).items():
        lines.append(f"not fitted: {', '.join(names)}: {reason}")
    return lines + _known_of_best(best)


def _known_of_best(best: Sequence[LawOfOptima | NoLaw]) -> list[str]:
    """What a reader must know before the parameters of laws of what is best."""
    lines = []
    for one in best:
        if isinstance(one, NoLaw):
            lines.append(f"{one.name} is not fitted: {one.reason}")
        else:
            why = why_no_optimum(one)
            lines += [f"{one.name} does not hold: {why}"] if why else []
            lines += [
                f"{one.name}: {key} is not identified: {w}" for key, w in one.unidentified.items()
            ]
        lines += [f"{one.name}: {line}" for line in left_out(one.rejected)]
    return lines


def _tables(observed: Observations, judged: Sequence[JudgedLaw]) -> list[list[str]]:
    law = judged[0].fit.law
    head = paragraph(f"{law.name}: {law.formula} ({law.source})")
    laws = [*paragraph(ERRORS), *text_lines(compared(observed, judged))]
    tail = paragraph(held(judged[0]))
    return [laws, [*head, *text_lines(parameters(judged[0])), *tail]]


def parameters(judged: JudgedLaw) -> Cells:
    """The parameters of a law with their intervals."""
    return _intervals(judged.fit.values, judged.intervals, judged.unidentified)


def held(judged: JudgedLaw) -> str:
    """What the intervals of a law hold, in a line."""
    return f"intervals hold {judged.scatter}"


def parameters_of_best(law: LawOfOptima) -> Cells:
    """The parameters of a law of what is best with their intervals."""
    return _intervals(law.values, law.intervals, {})


def optima(law: LawOfOptima) -> Cells:
    """What a law of what is best was fitted to, by budget or by size."""
    heads = list(dict.fromkeys(name for one in law.optima for name in one))
    rising = sorted(law.optima, key=lambda one: tuple(one.values()))
    rows = [[_figure(one[name]) if name in one else "" for name in heads] for one in rising]
    return Cells(heads, heads, rows, [True] * len(heads))


def errors_of_best(law: LawOfOptima) -> str:
    """How far a law of what is best misses what it was fitted to, and what it was not."""
    fit = law.fits[0]
    errors = [f"{share(fit.in_sample)} of all {len(fit.residuals)}"]
    errors += [
        f"{share(one.error)} of the largest {k} without them" for k, one in law.held_out.items()
    ]
    return f"median error of {law.what}: {', '.join(errors)}; R2 {fit.r2:.4f}"


def _of_best(law: LawOfOptima) -> list[str]:
    head = paragraph(f"{law.name}: {law.formula} ({law.source})")
    return [*head, *text_lines(parameters_of_best(law)), *paragraph(errors_of_best(law))]


def _intervals(
    values: dict[str, float], intervals: dict[str, Interval], unidentified: Collection[str]
) -> Cells:
    heads = ["", "value", f"{LEVEL:.0%} interval", ""]
    rows = []
    for name, value in values.items():
        unknown = "not identified" if name in unidentified else ""
        words = f"{_figure(intervals[name].low)} to {_figure(intervals[name].high)}"
        rows.append([name, _figure(value), words, unknown])
    return Cells(heads, heads, rows, [False, True, False, False])


def compared(observed: Observations, judged: Sequence[JudgedLaw]) -> Cells:
    """The laws side by side by their ERRORS."""
    heads = ["law", "models", "data", "fitted", "R2", ""]
    rows = []
    for one in judged:
        errors = [one.held_out.get(side) for side in ("models", "data")]
        rows.append(
            [
                one.fit.law.name,
                *("-" if error is None else share(error.error) for error in errors),
                share(in_sample(one, observed.points)),
                f"{one.r2:.4f}",
                "does not hold" if why_not(one, observed.points) else "holds",
            ]
        )
    return Cells(heads, heads, rows, [False, True, True, True, True, False])


def _figure(value: float) -> str:
    return f"{value:.4g}"


def paragraph(text: str) -> list[str]:
    """The text in lines as wide as the terminal, at most WIDEST; later ones are indented."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
