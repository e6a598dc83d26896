"""Groups as points over what varies between them: keys, parameters, training tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptexp.analysis.groups import Statistic, gathered
from gptexp.analysis.labels import short_label, short_names
from gptexp.analysis.optimum import Optimum, optimum
from gptexp.analysis.scale import Scale, scale_of
from gptexp.analysis.units import NATS
from gptexp.report.results import Results

SIZE_KEYS = ("model.name", "model.n_layer", "model.n_head", "model.n_embd")

PARAMETERS, TOKENS = "parameters", "training tokens"

COUNTED = {PARAMETERS: SIZE_KEYS, TOKENS: ("data.fraction",)}  # and the keys that make them vary

FEW = 3  # values of a key that make a curve


@dataclass(frozen=True)
class Point:
    """A group that has a best loss."""

    label: str
    at: dict[str, Any]  # config keys that vary, and of COUNTED what is known
    best: Statistic
    height: Statistic | None  # of the cliff
    unit: str = NATS  # of both


@dataclass(frozen=True)
class Factor:
    """What varies between points, as an axis of a figure."""

    key: str  # of Point.at
    name: str  # as a person reads it among the others: `lr`
    scale: Scale
    others: tuple[str, ...]  # keys of Point.at that tell points apart at one place of this axis

    @property
    def is_count(self) -> bool:
        """Whether it is a size, of which more is better but dearer: one looks for no optimum."""
        return self.key in COUNTED

    @property
    def is_curve(self) -> bool:
        """Whether a line over it has a shape."""
        return self.scale.kind != "words" and len(self.scale.values) >= FEW


@dataclass(frozen=True)
class Series:
    """Points with the same values of all but one factor, in the order of its places."""

    label: str  # empty where there is no other factor
    values: tuple[Any, ...]  # of the other factors
    points: list[tuple[Any, Statistic]]  # value, and the best loss there
    optimum: Optimum | None


def points(results: Results) -> list[Point]:
    """The groups with a best loss."""
    kinds = {record.run.config.get("model.kind") for record in results.records.values()}
    made = []
    for group in results.groups:
        best = group.statistic("best")
        if best is None:
            continue
        at = dict(zip(results.by, group.values, strict=True))
        counts = {record.tokens for record in results.of(group) if record.run.done}
        for key, count in (
            (PARAMETERS, group.params()),
            (TOKENS, counts.pop() if len(counts) == 1 else None),
        ):
            if count is not None:
                at[key] = count
        if len(kinds) > 1:  # which may follow from the name of a model
            at["model.kind"] = group.runs[0].config.get("model.kind")
        height = group.statistic("height")
        made.append(Point(results.label(group), at, best, height, results.unit))
    return made


def factors(points: Sequence[Point], by: Sequence[str]) -> list[Factor]:
    """What varies between the points: the keys in `by`, and the counts that follow from them.

    A count takes the place of the one key that makes it vary; where several do, it comes last.
    """
    keys = [key for key in by if _values(points, key) > 1]
    extra = []
    for count, causes in COUNTED.items():
        varied = [key for key in keys if key in causes]
        if not varied or _values(points, count) < 2 or any(count not in p.at for p in points):
            continue
        if len(varied) == 1 and _values(points, count) == _values(points, varied[0]):
            keys[keys.index(varied[0])] = count
        else:
            extra.append(count)
    return [factor(points, by, key) for key in keys + extra]


def factor(points: Sequence[Point], by: Sequence[str], key: str) -> Factor:
    """One of the things that vary between the points."""
    without = COUNTED.get(key, (key,))
    kind = ["model.kind"] if key == PARAMETERS and _values(points, "model.kind") > 1 else []
    others = [other for other in dict.fromkeys([*by, *kind]) if other not in without]
    names = dict(zip(by, short_names(by), strict=True))
    return Factor(key, names.get(key, key), scale_of(p.at[key] for p in points), tuple(others))


def series(points: Sequence[Point], over: Factor) -> list[Series]:
    """The points as lines over a factor: one for each value of the others."""
    together = gathered(points, lambda point: tuple(point.at.get(key) for key in over.others))
    made = []
    for values, members in together.items():
        members = sorted(members, key=lambda point: over.scale.place(point.at[over.key]))
        lowest = gathered(members, lambda point: over.scale.place(point.at[over.key]))
        losses = [(place, min(p.best.mean for p in same)) for place, same in lowest.items()]
        looked_for = over.scale.kind != "words" and not over.is_count
        made.append(
            Series(
                label=short_label(over.others, values) if over.others else "",
                values=values,
                points=[(point.at[over.key], point.best) for point in members],
                optimum=optimum(losses) if looked_for else None,
            )
        )
    return made


def grid(points: Sequence[Point], rows: Factor, columns: Factor) -> dict[tuple[Any, Any], Point]:
    """A point for each pair of values: of several, that of the lowest loss."""
    together = gathered(points, lambda point: (point.at[rows.key], point.at[columns.key]))
    return {at: min(same, key=lambda point: point.best.mean) for at, same in together.items()}


def _values(points: Sequence[Point], key: str) -> int:
    """The number of values of a key."""
    return len({point.at.get(key) for point in points})
