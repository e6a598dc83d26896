"""The runs of a folder together: curves by group, sizes, samples, and how to repeat them.

From the files of the runs alone. What another kind of result adds to the report (the level of a
baseline, a fitted law) is gathered here, as one more function of Results.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gptexp.analysis import cliff, groups, records
from gptexp.analysis.cliff import CurvePoint
from gptexp.analysis.groups import Group, Statistic
from gptexp.analysis.labels import short_label, telling
from gptexp.analysis.records import Run
from gptexp.errors import ConfigError, DamagedError, Problem, StorageError
from gptexp.runs.lines import Lines
from gptexp.runs.schema import Checkout, Manifest, Summary, Text, read_manifest, read_summary
from gptexp.text import listed

MOST_RUNS = 40  # that are drawn one by one; of more, the means of their groups

MOST_GROUPS = 20  # that one figure can tell apart

MOST_POINTS = 400  # of a drawn curve

Item = TypeVar("Item")

SIZE_KEYS = ("model.name", "model.n_layer", "model.n_head", "model.n_embd")


@dataclass(frozen=True)
class Record:
    """A run with what its other files say; None where they do not."""

    run: Run
    curve: list[CurvePoint]
    manifest: Manifest  # without the patch and the digests of the sources
    flops: float | None  # of the whole training; of a finished run only
    seconds: float | None  # wall time
    sample: str | None  # drawn from the best weights of a finished run
    ngrams: list[float] | None  # of a finished run: see ngrams.losses

    @property
    def tokens(self) -> int | None:
        """The number of tokens in the training set; None where the manifest does not say."""
        tokens = self.manifest.get("data", Text()).get("tokens", {}).get("train")
        return None if tokens is None else int(tokens)


@dataclass(frozen=True)
class Bundle:
    """The curves of one group: one for each run, or their mean alone."""

    label: str
    curves: list[list[CurvePoint]]
    band: tuple[list[float], list[float]] | None  # of a mean: lowest and highest validation loss


@dataclass(frozen=True)
class Size:
    """A group as a point over model size and dataset size; losses in nats per token."""

    label: str
    params: int
    tokens: int  # in the training set
    best: Statistic
    height: Statistic | None  # of the cliff
    other_than_params: str  # label of what else tells it from other groups
    other_than_tokens: str


@dataclass(frozen=True)
class Results:
    """The runs of a folder."""

    folder: Path
    by: list[str]  # config keys that tell the groups apart
    records: dict[Path, Record]  # by run directory
    groups: list[Group]
    damaged: list[Problem]  # files of the runs
    notes: list[str]  # of curves that are left out

    def label(self, group: Group) -> str:
        return short_label(self.by, group.values)

    def of(self, group: Group) -> list[Record]:
        """The records of the group's runs."""
        return [self.records[run.path] for run in group.runs]


def read_results(folder: Path) -> Results:
    """The runs of a folder; raises ConfigError where there is none, or none that is done."""
    runs, damaged = records.collect([folder])
    notes: list[str] = []
    if not any(run.done for run in runs):
        why = listed([f"{run.path.name} {run.state}" for run in runs])
        fix = f"see why with gptexp table {folder}, and run their commands again"
        what = f"none of its runs is done, of {len(runs)} ({why})"
        raise ConfigError(Problem(folder, what, fix))
    by = telling(runs)
    by_path = {run.path: _record(run, notes) for run in runs}
    return Results(folder, by, by_path, groups.group(runs, by), damaged, notes)


def bundles(results: Results) -> tuple[list[Bundle], int]:
    """The curves to draw, of at most MOST_GROUPS groups; and how many groups have curves.

    Of more groups, some are taken at equal distances in the order of their best losses, so that
    the best and the worst are among them. With more than MOST_RUNS runs, each is a mean.
    """
    curves = {}
    for group in results.groups:
        records = [record for record in results.of(group) if record.curve]
        if records:
            curves[results.label(group)] = records
    lowest = {name: min(map(_lowest, records)) for name, records in curves.items()}
    drawn = spread(sorted(curves, key=lambda name: lowest[name]), MOST_GROUPS)
    chosen = {name: records for name, records in curves.items() if name in drawn}
    if sum(map(len, curves.values())) > MOST_RUNS:
        return [_mean(name, records) for name, records in chosen.items()], len(curves)
    one_by_one = [
        Bundle(name, [thinned(record.curve) for record in records], None)
        for name, records in chosen.items()
    ]
    return one_by_one, len(curves)


def sizes(results: Results) -> list[Size]:
    """The groups with a best loss whose number of parameters and training tokens are known."""
    points = []
    kinds = {record.run.config.get("model.kind") for record in results.records.values()}
    for group in results.groups:
        kind = str(group.runs[0].config.get("model.kind")) if len(kinds) > 1 else ""
        params, best = group.params(), group.statistic("best")
        counts = {record.tokens for record in results.of(group) if record.run.done}
        tokens = counts.pop() if len(counts) == 1 else None
        if params is None or tokens is None or best is None:
            continue
        points.append(
            Size(
                label=results.label(group),
                params=params,
                tokens=tokens,
                best=best,
                height=group.statistic("height"),
                # A line joins the sizes of one kind of model.
                other_than_params=f"{kind} {_label_without(results.by, group, SIZE_KEYS)}".strip(),
                other_than_tokens=_label_without(results.by, group, ("data.fraction",)),
            )
        )
    return points


def grid(points: Sequence[Size]) -> list[Size]:
    """One point for each pair of parameters and tokens: of several, that of the lowest loss."""
    cells: dict[tuple[int, int], Size] = {}
    for size in points:
        other = cells.setdefault((size.params, size.tokens), size)
        if size.best.mean < other.best.mean:
            cells[size.params, size.tokens] = size
    return [cells[place] for place in sorted(cells)]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, first and last among them, at equal distances."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def thinned(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """At most MOST_POINTS of the curve, and its best point: as much as a figure shows."""
    kept = {point.step for point in spread(curve, MOST_POINTS)} | {cliff.best_of(curve).step}
    return [point for point in curve if point.step in kept]


def _record(run: Run, notes: list[str]) -> Record:
    summary = read_summary(run.path) if run.done else None
    curve, damage = cliff.read_curve(run.path)
    notes += damage
    return Record(
        run=run,
        curve=curve,
        manifest=_manifest(run),
        flops=summary["flops"] if summary else None,
        seconds=_seconds(run, summary),
        sample=summary["sample"] if summary else None,
        ngrams=(summary.get("ngrams") or None) if summary else None,
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


def _mean(label: str, records: Sequence[Record]) -> Bundle:
    """The mean of the finished runs, or of all where none is, at the steps that all have."""
    members = [record for record in records if record.run.done] or records
    rows = [{point.step: point for point in record.curve} for record in members]
    steps = [step for step in rows[0] if all(step in row for row in rows)]
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
    return Bundle(label, [curve], (low, high))


def _average(values: Iterable[float]) -> float:
    statistic = groups.statistic(values)
    assert statistic is not None
    return statistic.mean


def _lowest(record: Record) -> float:
    return cliff.best_of(record.curve).val_loss


def _label_without(by: Sequence[str], group: Group, left_out: Sequence[str]) -> str:
    """The group's label without the keys in `left_out`; empty where no other varies."""
    pairs = [(k, v) for k, v in zip(by, group.values, strict=True) if k not in left_out]
    return short_label(*zip(*pairs, strict=True)) if pairs else ""
