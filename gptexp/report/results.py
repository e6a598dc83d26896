"""The runs of a folder together: curves by group, samples, and how to repeat them.

From the files of the runs alone. What another kind of result adds to the report (the level of a
baseline, a fitted law) is gathered here, as one more function of Results.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from gptexp.analysis import cliff, groups, records
from gptexp.analysis.cliff import CurvePoint
from gptexp.analysis.groups import Group
from gptexp.analysis.labels import label_runs, short_label, telling
from gptexp.analysis.records import Run
from gptexp.analysis.units import BITS, NATS, curve_in_bits, in_bits, unit
from gptexp.config import BUDGETS
from gptexp.errors import DamagedError, Problem, StorageError
from gptexp.runs.lines import Lines
from gptexp.runs.schema import Checkout, Manifest, Summary, Text, read_manifest, read_summary

MOST_RUNS = 40  # that are drawn one by one; of more, the means of their groups

MOST_GROUPS = 20  # that one figure can tell apart

MOST_POINTS = 400  # of a drawn curve

Item = TypeVar("Item")


@dataclass(frozen=True)
class Record:
    """A run with what its other files say; None where they do not."""

    run: Run  # its losses, and those of the curve, in the unit of the results
    curve: list[CurvePoint]
    manifest: Manifest  # without the patch and the digests of the sources
    flops: float | None  # of the whole training; of a finished run only
    seconds: float | None  # wall time
    sample: str | None  # drawn from the best weights of a finished run
    ngrams: list[float] | None  # of a finished run: see ngrams.losses
    parts: dict[str, list[CurvePoint]]  # of a mix, by name; none where losses are in BITS

    @property
    def tokens(self) -> int | None:
        """The number of tokens in the training set; None where the manifest does not say."""
        tokens = self.manifest.get("data", Text()).get("tokens", {}).get("train")
        return None if tokens is None else int(tokens)

    @property
    def progress(self) -> str:
        """How far an unfinished run with a curve has come: `running, step 300 of 2,000`."""
        config, step = self.run.config, self.curve[-1].step
        budgets = [config.get(f"trainer.{key}") for key in BUDGETS]  # each takes the steps' place
        steps = config.get("trainer.max_steps")
        known = budgets.count(None) == len(budgets) and isinstance(steps, int)
        return f"{self.run.state}, step {step:,}{f' of {steps:,}' if known else ''}"


@dataclass(frozen=True)
class Bundle:
    """The curves of one group: one for each run, or their mean alone."""

    label: str
    values: tuple[Any, ...]  # that tell it from the others, which its colour follows
    best: float  # mean of the lowest validation losses
    curves: list[list[CurvePoint]]
    unfinished: list[bool]  # by curve: whether its run is not done
    band: tuple[list[float], list[float]] | None  # of a mean: lowest and highest validation loss
    capped: bool = False  # whether evaluations in training judge a part of the targets
    unit: str = NATS  # of the losses


@dataclass(frozen=True)
class Results:
    """The runs of a folder."""

    folders: Sequence[Path]  # or run directories
    by: list[str]  # config keys that tell the groups apart
    records: dict[Path, Record]  # by run directory
    groups: list[Group]
    damaged: list[Problem]  # files of the runs
    notes: list[str]  # of curves that are left out
    unit: str  # of all losses: BITS where the runs have several tokenizers
    runs: list[Run]  # as tables tell them, in NATS

    def label(self, group: Group) -> str:
        """The group in words; a run that is the only one by its name."""
        alone = len(self.records) == 1
        return group.runs[0].path.name if alone else short_label(self.by, group.values)

    def of(self, group: Group) -> list[Record]:
        """The records of the group's runs."""
        return [self.records[run.path] for run in group.runs]


def read_results(*folders: Path) -> Results:
    """The runs of folders, or of run directories; raises ConfigError where there is none."""
    runs, damaged = records.collect(folders)
    notes: list[str] = []
    by, told_in = telling(runs), unit(runs)
    by_path = {run.path: _record(run, told_in, notes) for run in runs}
    grouped = groups.group([record.run for record in by_path.values()], by)
    return Results(folders, by, by_path, grouped, damaged, notes, told_in, runs)


def bundles(results: Results) -> tuple[list[Bundle], int]:
    """The curves to draw, of at most MOST_GROUPS groups; and how many groups have curves.

    See _drawn.
    """
    return _drawn(_with_curves(results), results.unit)


def part_bundles(results: Results) -> tuple[list[Bundle], int]:
    """The same of each part of mixes, as if it were a group: none where no run is of a mix."""
    gathered = []
    of_groups = _with_curves(results)
    for label, values, of_group in of_groups:
        for part in dict.fromkeys(name for record in of_group for name in record.parts):
            words = part if len(of_groups) == 1 else f"{label}, {part}"
            of_part = [
                replace(record, curve=record.parts[part])
                for record in of_group
                if part in record.parts
            ]
            gathered.append((words, (*values, part), of_part))
    return _drawn(gathered, results.unit)


def _drawn(
    gathered: Sequence[tuple[str, tuple[Any, ...], list[Record]]], told_in: str
) -> tuple[list[Bundle], int]:
    """At most MOST_GROUPS of groups with their curves, and how many these are.

    Of more groups, some are taken at equal distances in the order of their best losses, so that
    the best and the worst are among them. With more than MOST_RUNS runs, each is a mean.
    """
    one_by_one = sum(len(records) for *_, records in gathered) <= MOST_RUNS
    made = [
        replace((_one_by_one if one_by_one else _mean)(*of_group), unit=told_in)
        for of_group in gathered
    ]
    by_loss = sorted(range(len(made)), key=lambda number: made[number].best)
    return [made[number] for number in sorted(spread(by_loss, MOST_GROUPS))], len(made)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, first and last among them, at equal distances."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def thinned(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """At most MOST_POINTS of the curve, and its best point: as much as a figure shows."""
    steps = {point.step for point in spread(curve, MOST_POINTS)} | {cliff.best_of(curve).step}
    return [point for point in curve if point.step in steps]


def _record(run: Run, told_in: str, notes: list[str]) -> Record:
    summary = read_summary(run.path) if run.done else None
    curve, damage = cliff.read_curve(run.path)
    notes += damage
    if told_in == BITS:
        curve = curve and curve_in_bits(run, curve)
    is_mix = any(key.startswith("data.parts.") for key in run.config)
    return Record(
        run=in_bits(run) if told_in == BITS else run,
        curve=curve,
        manifest=_manifest(run),
        flops=summary["flops"] if summary else None,
        seconds=_seconds(run, summary),
        sample=summary["sample"] if summary else None,
        ngrams=(summary.get("ngrams") or None) if summary else None,
        # What a token of a part stands for is not told, so there are no bits of it.
        parts=cliff.read_parts(run.path) if is_mix and told_in != BITS else {},
    )


def _manifest(run: Run) -> Manifest:
    """The manifest without patch and digests, which would fill the memory with many runs.

    Empty for a damaged one, which the run's own line has told of.
    """
    try:
        manifest = read_manifest(run.path)
    except DamagedError:
        return {}
    manifest.pop("sources", None)
    manifest.pop("resumes", None)
    manifest.get("git", Checkout()).pop("patch", None)
    return manifest


def _seconds(run: Run, summary: Summary | None) -> float | None:
    """Wall time so far: what the last line says, or else the summary."""
    try:
        last = Lines(run.path / "metrics.jsonl").last().get("seconds")
    except StorageError:  # of which read_curve says what it is
        last = None
    return last if last is not None else summary["seconds"] if summary else None


def _with_curves(results: Results) -> list[tuple[str, tuple[Any, ...], list[Record]]]:
    """The groups with their runs that have a curve, each with a label and values of its own.

    Where a seed has several runs in a group, as two folders of one sweep have, a group is what has
    one folder too.
    """
    gathered: dict[tuple[Any, ...], tuple[str, list[Record]]] = {}
    twice = any(group.repeated() for group in results.groups)
    for group in results.groups:
        words = _apart(group.runs) if twice else {}
        for record in results.of(group):
            word = words.get(record.run.path, "")
            label = " ".join(filter(None, [results.label(group) if results.by else "", word]))
            if record.curve:
                values = (*group.values, word)
                gathered.setdefault(values, (label or results.label(group), []))[1].append(record)
    return [(label, values, records) for values, (label, records) in gathered.items()]


def _apart(runs: Sequence[Run]) -> dict[Path, str]:
    """Words that tell runs of one seed apart, by directory: their folder's, where that does."""
    if len({(run.path.parent.name, run.seed) for run in runs}) == len(runs):
        return {run.path: run.path.parent.name for run in runs}
    return label_runs(runs)


def _one_by_one(label: str, values: tuple[Any, ...], records: Sequence[Record]) -> Bundle:
    return Bundle(
        label=label,
        values=values,
        best=_best(records),
        curves=[thinned(record.curve) for record in records],
        unfinished=[not record.run.done for record in records],
        band=None,
        capped=_any_capped(records),
    )


def _mean(label: str, values: tuple[Any, ...], records: Sequence[Record]) -> Bundle:
    """The mean of the finished runs, or of all where none is, at the steps that all have."""
    members = _finished(records)
    rows = [{point.step: point for point in record.curve} for record in members]
    steps = [step for step in rows[0] if all(step in row for row in rows)]
    if not steps:
        rows, steps = rows[:1], list(rows[0])
    curve, low, high = [], [], []
    for step in spread(steps, MOST_POINTS):
        points = [row[step] for row in rows]
        losses = [point.val_loss for point in points]
        train_loss = _average(point.train_loss for point in points)
        first = points[0]  # tokens and epochs follow from the step
        curve.append(
            CurvePoint(step, first.tokens, first.epochs, _average(losses), train_loss, 0.0)
        )
        low.append(min(losses))
        high.append(max(losses))
    unfinished = [not members[0].run.done]
    return Bundle(
        label, values, _best(records), [curve], unfinished, (low, high), _any_capped(members)
    )


def _any_capped(records: Sequence[Record]) -> bool:
    return any(record.run.judged is not None for record in records)


def _finished(records: Sequence[Record]) -> Sequence[Record]:
    """The finished ones, or all where none is."""
    return [record for record in records if record.run.done] or records


def _best(records: Sequence[Record]) -> float:
    return _average(cliff.best_of(record.curve).val_loss for record in _finished(records))


def _average(values: Iterable[float]) -> float:
    statistic = groups.statistic(values)
    assert statistic is not None
    return statistic.mean
