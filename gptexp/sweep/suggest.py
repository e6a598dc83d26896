"""`gptexp plan --suggest`: which runs to train next, so that a sweep's law becomes sure of more."""

import math
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptexp.analysis.labels import in_words, label_runs, telling
from gptexp.analysis.records import Run, collect
from gptexp.analysis.table import meeting
from gptexp.config import Config, flat, to_dict
from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.laws.admit import admit
from gptexp.laws.bootstrap import LEVEL
from gptexp.laws.forms import LAWS, suited
from gptexp.laws.judge import JudgedLaw, judge_laws
from gptexp.laws.observed import Observations
from gptexp.laws.points import Points
from gptexp.laws.screen import counted, paragraph
from gptexp.laws.suggest import Known, Prediction, Suggestion, next_point
from gptexp.laws.verdict import share, why_not
from gptexp.runs.directory import OUTPUTS, code_digest
from gptexp.runs.provenance import sources
from gptexp.sweep.neighbours import Neighbour
from gptexp.sweep.plan import Cost, Planner, Size, total
from gptexp.sweep.possible import Possible, command_of, in_a_shell, possible_runs
from gptexp.text import aligned, duration, in_shell, listed, plural, short, unknown_name

DRAWS = 20  # of each law: its intervals are not shown here
NUMBERS = ("", "params", "tokens", "epochs", "FLOPs", "time", "loss")
HEADER = (*NUMBERS, f"{LEVEL:.0%}", "narrows", "point")
SPARE = ("FLOPs", "epochs", f"{LEVEL:.0%}", "time")  # columns that a narrow terminal goes without
WIDE = 1000  # columns where there is no terminal


@dataclass(frozen=True)
class Chosen:
    """A point that is to be measured, with the words of its command."""

    like: Neighbour
    words: list[str]
    config: Config
    cost: Cost
    suggestion: Suggestion


def plan_suggestions(
    folder: Path,
    extra: Sequence[str] = (),
    target: Points | None = None,
    num: int = 5,
    law: str | None = None,
    where: Sequence[str] = (),
    outputs: Path = OUTPUTS,
) -> tuple[str, list[Problem]]:
    """The table and the commands of the next runs of the sweep in a folder; and what is damaged.

    `extra` overrides go with each of the commands. Without a `target` the intervals of the law's
    parameters are to get narrow, with one that of the loss there. The law is the best that holds,
    or that of a name, fitted to the runs that meet all of `where`: see analysis.where. Trains and
    writes nothing. Raises ConfigError where no law holds, or there is nothing to suggest.
    """
    if law is not None and law not in LAWS:
        raise ConfigError(unknown_name("--law", law, list(LAWS)))
    runs, damaged = collect([folder])
    selected = meeting(runs, where)
    observed = admit(selected)
    judged = _law(observed, folder, law)
    known = Known(judged.fit, observed.points)
    before = known.predict(target) if target is not None else None
    planner, measured = Planner(outputs), _measured(selected, observed)
    possible, problems = possible_runs(measured, runs, planner)
    chosen, others = _choose(possible, known, target, num, planner, extra)
    if not chosen:
        whys = [problem.told() for problem in (*others, *problems)] or ["none is within reach"]
        fix = "choose points by hand, as python run.py -m model.n_embd=64,128 does"
        raise ConfigError(Problem(folder, f"no run to suggest: {whys[0]}", fix))
    first = [*_changes(measured), *_about(judged, observed, folder)]
    last = [
        _narrowing(known, before, target, observed.unit),
        total(len(chosen), [one.cost for one in chosen]),
    ]
    lines = [
        *(line for words in first for line in paragraph(words)),
        "",
        *_table(chosen, measured),
        "",
        *(line for words in last for line in paragraph(words)),
        "",
        *(in_a_shell(one.words) for one in chosen),
    ]
    return "\n".join(lines), damaged


def target_of(words: str) -> Points:
    """The point of `N=1e8,T=1e9,U=1e8`; U left out, no token is seen twice. Raises ConfigError."""
    numbers: dict[str, float] = {}
    for word in words.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        try:
            numbers[name.upper()] = float(value)
        except ValueError:
            numbers[name.upper()] = math.nan
    is_whole = {"N", "T"} <= numbers.keys() <= {"N", "T", "U"}
    if not is_whole or not all(0 < value < math.inf for value in numbers.values()):
        fix = "parameters and tokens, as N=1e8,T=1e9, with U=1e8 for those of a text"
        raise ConfigError(Problem("--at", f"{words!r} is no point of a law", fix))
    return Points.of([numbers["N"]], [numbers["T"]], [1.0], [numbers.get("U", numbers["T"])])


def _law(observed: Observations, folder: Path, name: str | None) -> JudgedLaw:
    """The best law that holds, or the one of that name; raises ConfigError."""
    points = observed.points
    laws = suited(points) if name is None else [LAWS[name]]
    judged = judge_laws(laws, points, DRAWS) if len(points) > 1 else []
    if not judged:
        left_out = f"; {len(observed.rejected):,} are left out" if observed.rejected else ""
        what = f"{plural(len(points), 'run')} cannot tell a law{left_out}"
        fix = f"train more sizes; gptexp fit {in_shell(folder)} says why"
        raise ConfigError(Problem(folder, what, fix))
    for one in judged:
        if name is not None or not why_not(one, points):
            return one
    best = judged[0].fit.law.name
    what = f"no law holds; {best}: {why_not(judged[0], points)}"
    fix = f"train more sizes, or --law {best} to go by it all the same"
    raise ConfigError(Problem(folder, what, fix))


def _choose(
    possible: Sequence[Possible],
    known: Known,
    target: Points | None,
    num: int,
    planner: Planner,
    extra: Sequence[str],
) -> tuple[list[Chosen], list[Problem]]:
    """The next runs, one after another, of which `known` learns; and why others are none."""
    chosen: list[Chosen] = []
    problems: list[Problem] = []
    left = list(possible)
    while left and len(chosen) < num:
        points = _points([one.size for one in left])
        suggestion = next_point(known, points, np.array([one.size.flops for one in left]), target)
        one = left.pop(suggestion.row)
        try:
            words, config = command_of(one, extra)
        except GptexpError as error:  # which all have that are like this run
            problems += error.problems
            left = [other for other in left if other.like.base is not one.like.base]
            continue
        try:
            cost = planner.cost(config)
        except GptexpError as error:
            problems += error.problems
            continue
        if cost.left:
            chosen.append(Chosen(one.like, words, config, cost, suggestion))
            known.learn(points.take(np.array([suggestion.row])))
    return chosen, problems


def _measured(runs: Sequence[Run], observed: Observations) -> list[Run]:
    """The runs that are points of the law, by row."""
    labels = label_runs(runs)
    labelled = {labels[run.path]: run for run in runs}
    return [labelled[label] for label in observed.labels]


def _points(sizes: Sequence[Size]) -> Points:
    tokens = [size.tokens for size in sizes]
    unique = [size.tokens / max(1.0, size.epochs) for size in sizes]
    return Points.of([size.params for size in sizes], tokens, np.ones(len(sizes)), unique)


def _changes(measured: Sequence[Run]) -> list[str]:
    """A line where new runs would be no points of the same law."""
    if measured[0].code in (None, code_digest({"sources": sources()})):
        return []
    return ["the code has changed since: of runs of several codes, a law takes those of one alone"]


def _about(judged: JudgedLaw, observed: Observations, folder: Path) -> list[str]:
    """What the suggestions rest on."""
    law, unknown = judged.fit.law, listed(list(judged.unidentified))
    why = why_not(judged, observed.points)
    error = "" if judged.error is None else f", held-out error {share(judged.error)}"
    return [
        *observed.notes,
        f"{folder}: {counted(observed)}",
        f"{law.name}: {law.formula}{error}",
        *([f"it does not hold: {why}"] if why else []),
        *([f"not identified: {unknown}"] if unknown else []),
    ]


def _table(chosen: Sequence[Chosen], measured: Sequence[Run]) -> list[str]:
    configs = [flat(to_dict(one.config)) for one in chosen]
    every = [*configs, *(run.config for run in measured)]
    varied = dict.fromkeys([*telling(measured), *chosen[0].like.values])
    keys = [key for key in varied if len({config.get(key) for config in every}) > 1]
    rows = [HEADER]
    for number, (one, config) in enumerate(zip(chosen, configs, strict=True), start=1):
        cost, expected = one.cost, one.suggestion.expected
        cells = (
            f"{cost.params:,}",
            short(cost.tokens),
            f"{cost.epochs:.2f}",
            f"{cost.flops:.2e}",
            duration(cost.seconds),
            f"{expected.loss:.4f}",
            f"{expected.low:.4f} to {expected.high:.4f}",
            f"{one.suggestion.narrowing:.1%}",
        )
        rows.append((str(number), *cells, in_words([*keys, "seed"], config)))
    return _laid_out(rows, shutil.get_terminal_size((WIDE, 0)).columns)


def _laid_out(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The rows under HEADER in lines of at most so many columns, as far as that can be.

    Where they are wider, what tells a point stands below its numbers, and columns of SPARE go.
    """
    right = [*[True] * len(NUMBERS), False, True, False]
    lines = aligned(rows, right)
    if max(map(len, lines)) <= width:
        return lines
    for count in range(len(SPARE) + 1):
        places = [i for i, name in enumerate(HEADER[:-1]) if name not in SPARE[:count]]
        numbers = [[row[i] for i in places] for row in rows]
        lines = aligned(numbers, [right[i] for i in places])
        if max(map(len, lines)) <= width:
            break
    indent = " " * (max(len(row[0]) for row in rows) + 2)
    wrapped = lines[:1]
    for line, row in zip(lines[1:], rows[1:], strict=True):
        wrapped += [line, *textwrap.wrap(indent + row[-1], width, subsequent_indent=indent)]
    return wrapped


def _narrowing(known: Known, before: Prediction | None, target: Points | None, unit: str) -> str:
    """What the runs make narrower, and by how much together."""
    if target is None or before is None:
        return (
            "narrows: the intervals of the law's parameters, in their geometric mean, by each run"
        )
    after = known.predict(target)
    n, tokens, unique = (float(column[0]) for column in (target.n, target.tokens, target.unique))
    return (
        f"narrows: the interval of the loss at N={n:.3g} T={tokens:.3g} U={unique:.3g}, "
        f"{before.low:.4f} to {before.high:.4f} {unit}, which gets "
        f"{1 - (after.high - after.low) / (before.high - before.low):.0%} narrower by all of these"
    )
