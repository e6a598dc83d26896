"""`gptexp table`: runs, or groups of seeds, as rows of a table."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath, relpath
from pathlib import Path
from typing import Any, TypeVar

from gptexp.analysis import groups, records
from gptexp.analysis.columns import (
    OF_GROUPS,
    OWN,
    Count,
    Facts,
    Names,
    from_journal,
    sortable,
    value,
)
from gptexp.analysis.groups import FIGURES, Group, Statistic
from gptexp.analysis.labels import branch_notes, telling
from gptexp.analysis.memory import Memory
from gptexp.analysis.records import Run
from gptexp.analysis.units import NATS, judged_apart, mixed_tokens, unit
from gptexp.analysis.where import Condition, parse
from gptexp.errors import ConfigError, Problem
from gptexp.runs.state import RunState
from gptexp.text import listed, plain, plural

MOST_KEYS = 6  # that differ, before those that follow from others are left out

UNFINISHED = ("step", "val")  # columns that say nothing of runs that are all done

COMPARED = ("bpb",)  # and nothing beside the loss of runs that have the same tokens

T = TypeVar("T")

Row = dict[str, Any]  # by column: a plain value, a list of words, Steps, a Statistic or a Count


@dataclass(frozen=True)
class Query:
    """What of the runs is shown, and how; each name in words, see Names.resolve."""

    by: Sequence[str] | None = None  # config keys: a row for each group of equal values of them
    where: Sequence[str] = ()  # conditions, all of which a run has to meet; see where.parse
    columns: Sequence[str] = ()  # in place of those that are shown by themselves
    sort: Sequence[str] = ()  # columns, the first one first; `-best` begins with the largest
    descending: bool = False  # all of `sort` the other way round
    limit: int | None = None  # rows


@dataclass(frozen=True)
class Table:
    """The columns, rows and notes that are shown; every row has every column."""

    columns: list[str]
    rows: list[Row]
    notes: list[str]
    heads: list[str]  # the columns as short as people type them
    quiet: frozenset[str] = frozenset()  # columns for programs: they tell a person nothing
    means: frozenset[str] = frozenset()  # columns of means over seeds
    damaged: bool = False  # whether a note tells of damage


def build_table(paths: Sequence[Path], query: Query | None = None) -> Table:
    """One row for each run, or for each group with the same values of the keys in `query.by`.

    Raises ConfigError.
    """
    runs, damaged = records.collect(paths)
    return View(runs, query or Query(), Memory()).table(damaged)


def meeting(runs: Sequence[Run], where: Sequence[str]) -> list[Run]:
    """The runs that meet all conditions, see where.parse.

    Raises ConfigError for what is no condition, and where no run meets them.
    """
    if not where or not runs:
        return list(runs)
    view = View(runs, Query(where=where), Memory())
    if not (facts := view.facts()):
        raise ConfigError(Problem("--where", view.why_none(), "another condition, or none"))
    return [fact.run for fact in facts]


def per_run(runs: Sequence[Run]) -> Table:
    """One row for each of the runs, of which there is at least one, in order of what differs."""
    return View(runs, Query(), Memory()).table()


def per_group(runs: Sequence[Run], by: Sequence[str]) -> Table:
    """One row for each group with the same values of the keys in `by`; raises ConfigError."""
    return View(runs, Query(by=by), Memory()).table()


class View:
    """A query over these runs, its names resolved; raises ConfigError for one that is unknown."""

    def __init__(self, runs: Sequence[Run], query: Query, memory: Memory) -> None:
        self.runs = runs
        self.query = query
        self.memory = memory
        self.names = Names(runs, self._curves)
        self._known: tuple[list[Run], _Keys] | None = None
        self.flags, self.odd = groups.strangers(runs)
        self.folders = _folders(runs)
        self.by = None if query.by is None else self.names.keys("--by", query.by)
        others = () if self.by is None else OF_GROUPS
        self.columns = self.names.resolve("--columns", query.columns, others)
        self.sort = self._orders(query, others)
        self.conditions = self._conditions(query)
        asked = [*self.columns, *(name for name, _ in self.sort)]
        asked += [condition.name for condition in self.conditions]
        self.reads_journals = any(map(from_journal, asked))

    def facts(self) -> list[Facts]:
        """The runs that meet all conditions, with what their journals say by now."""
        facts = map(self._facts, self.runs)
        return [
            item
            for item in facts
            if all(condition.holds(_compared(item, condition)) for condition in self.conditions)
        ]

    def table(self, damaged: Iterable[Problem] = ()) -> Table:
        """The rows, with notes of what is `damaged` beside what the runs say."""
        facts = self.facts()
        made = self._runs(facts) if self.by is None else self._groups(facts, self.by)
        damage = [*damaged, *self.memory.damage()]
        notes = [*made.notes, *([] if facts else [self.why_none()]), *map(str, damage)]
        return replace(made, notes=notes, damaged=bool(damage))

    def in_order(self, facts: Sequence[Facts]) -> list[Facts]:
        """The runs as they are to be sorted; else by the values of what differs between them."""
        if self.sort:
            return self._sorted(facts, value)
        keys = self._keys([item.run for item in facts]).all
        return sorted(facts, key=lambda i: [groups.sort_key(i.run.config.get(k)) for k in keys])

    def shown(self, facts: Sequence[Facts], everyone: Sequence[Facts]) -> Table:
        """A row for each of these runs, in their order; the keys are those of `everyone`."""
        keys = self._keys([item.run for item in everyone])
        several = len({item.folder for item in everyone}) > 1
        own = [name for name in OWN if name != "folder" or several]
        columns = self.columns or [*keys.all, *own]
        rows = [{name: value(item, name) for name in columns} for item in facts]
        all_done = all(item.run.done for item in facts)
        quiet = keys.quiet.union(UNFINISHED if all_done else (), _alike([f.run for f in facts]))
        return self._made(columns, rows, quiet)

    def _runs(self, facts: Sequence[Facts]) -> Table:
        shown = self.in_order(facts)[: self.query.limit]
        runs = [item.run for item in shown]
        notes = [f"{run.path}: {run.state}: {run.reason}" for run in runs if _needs_note(run)]
        notes += [*mixed_tokens(runs), *judged_apart(runs), *groups.capped(runs)]
        notes += [*self._odd(shown), *self._cut(facts, "run")]
        return replace(self.shown(shown, facts), notes=notes)

    def _groups(self, facts: Sequence[Facts], by: Sequence[str]) -> Table:
        by_path = {item.run.path: item for item in facts}
        grouped = groups.group([item.run for item in facts], by) if facts else []

        def of_group(group: Group, name: str) -> Any:
            if name in by:
                return group.values[by.index(name)]
            return _of_group(group, name, [by_path[run.path] for run in group.runs])

        shown = self._sorted(grouped, of_group)[: self.query.limit]
        columns = self.columns or [*by, "runs", "params", *FIGURES, "flags"]
        rows = [{name: of_group(group, name) for name in columns} for group in shown]
        means = [c for c in columns if any(isinstance(row[c], Statistic) for row in rows)]
        everyone = [run for group in shown for run in group.runs]
        notes = [*groups.notes(shown, by), *mixed_tokens(everyone), *judged_apart(everyone)]
        notes += groups.capped(everyone)
        notes += [*self._odd(facts), *self._cut(grouped, "group")]
        table = self._made(columns, rows, frozenset(_alike(everyone)))
        return replace(table, notes=notes, means=frozenset([*means, *FIGURES]))

    def _made(self, columns: Sequence[str], rows: list[Row], quiet: frozenset[str]) -> Table:
        """The table; where its columns were not asked for, those without values are quiet too."""
        empty = [c for c in columns if all(row[c] in (None, []) for row in rows)]
        quiet = frozenset() if self.columns else quiet.union(empty)
        return Table(list(columns), rows, [], self.names.short(columns), quiet)

    def _odd(self, facts: Sequence[Facts]) -> list[str]:
        """The notes about code, data, unless they are about other runs than these, and branches."""
        concerned = not self.conditions or any(item.run.path in self.flags for item in facts)
        branches = branch_notes([item.run for item in facts])
        return [*(self.odd if concerned else []), *branches]

    def _facts(self, run: Run) -> Facts:
        journal = self.reads_journals or run.state not in (RunState.done, RunState.damaged)
        progress = self.memory.progress(run) if journal else None
        flags = [*self.flags.get(run.path, []), *([] if run.judged is None else ["capped"])]
        return Facts(run, self.folders[run.path], flags, progress)

    def _keys(self, runs: list[Run]) -> "_Keys":
        """The config keys of the columns; found once for the same runs."""
        if self._known is None or self._known[0] != runs:
            self._known = runs, _keys(runs)
        return self._known[1]

    def _orders(self, query: Query, others: Sequence[str]) -> list[tuple[str, bool]]:
        """The columns to sort by, each with whether its largest comes first."""
        words = [word.removeprefix("-") for word in query.sort]
        names = self.names.resolve("--sort", words, others)
        falling = [word.startswith("-") != query.descending for word in query.sort]
        return list(zip(names, falling, strict=True))

    def _sorted(self, items: Sequence[T], read: Callable[[T, str], Any]) -> list[T]:
        """The items by each column of `sort`; those without a value come last either way."""
        ordered = list(items)
        for name, from_largest in reversed(self.sort):
            values = [groups.sort_key(sortable(read(item, name))) for item in ordered]
            order = sorted(range(len(ordered)), key=values.__getitem__, reverse=from_largest)
            order.sort(key=lambda i: values[i][0] == 2)
            ordered = [ordered[i] for i in order]
        return ordered

    def _conditions(self, query: Query) -> list[Condition]:
        parsed = [parse(text) for text in query.where]
        names = self.names.resolve("--where", [condition.name for condition in parsed])
        return [replace(one, name=name) for one, name in zip(parsed, names, strict=True)]

    def _curves(self) -> list[str]:
        """The curves that the journals of the runs hold."""
        progress = map(self.memory.progress, self.runs)
        names = dict.fromkeys(name for one in progress if one is not None for name in one.newest)
        return [name for name in names if "/" in name]

    def _cut(self, items: Sequence[object], noun: str) -> list[str]:
        """A note of rows beyond the limit."""
        if self.query.limit is None or len(items) <= self.query.limit:
            return []
        return [f"{self.query.limit:,} of {plural(len(items), noun)} shown"]

    def why_none(self) -> str:
        """A note that no run meets the conditions, and what there is instead."""
        everyone = [self._facts(run) for run in self.runs]
        for condition in self.conditions:
            if not any(condition.holds(_compared(item, condition)) for item in everyone):
                cells = {sortable(value(item, condition.name)) for item in everyone}
                what = listed([plain(c) or "empty" for c in sorted(cells, key=groups.sort_key)])
                return f"no run of {len(self.runs)} has {condition}: {condition.name} is {what}"
        return f"no run of {len(self.runs)} meets {' and '.join(map(str, self.conditions))}"


@dataclass(frozen=True)
class _Keys:
    """The config keys of the columns, and those of them that tell a person nothing."""

    all: list[str]
    quiet: frozenset[str]


def _keys(runs: Sequence[Run]) -> _Keys:
    """The keys in which the runs differ; quiet is what changes no result.

    Of many keys, so are those that follow from others, as the layers of a preset do from its name.
    """
    keys = records.varying(runs, records.differing(runs))
    shown = {"seed", *records.mixed(runs)}
    if len(shown.intersection(keys)) > MOST_KEYS:
        shown = {"seed", *telling(runs)}
    return _Keys(keys, frozenset(keys) - shown)


def _of_group(group: Group, name: str, facts: Sequence[Facts]) -> Any:
    """What a group has in a column: of what was measured a mean, else the values of its runs."""
    match name:
        case "runs":
            return Count(len(group.done), group.expected, group.marks())
        case "params":
            return group.params()
        case "flags":
            return list(dict.fromkeys(flag for item in facts for flag in item.flags))
    if name in FIGURES:
        return group.statistic(name)
    if name not in facts[0].run.config:
        measured = [sortable(value(item, name)) for item in facts if item.run.done]
        numbers = [number for number in measured if isinstance(number, int | float)]
        if numbers:
            return groups.statistic(numbers)
    values = list(dict.fromkeys(sortable(value(item, name)) for item in facts))
    return values[0] if len(values) == 1 else values


def _alike(runs: Sequence[Run]) -> Sequence[str]:
    """The columns that say nothing of runs whose tokens are the same."""
    return COMPARED if unit(runs) == NATS else ()


def _compared(item: Facts, condition: Condition) -> Any:
    """The value that a condition is about; a run goes by its path and by its name alone."""
    if condition.name == "run":
        return [str(item.run.path), item.run.path.name]
    cell = value(item, condition.name)
    return cell if isinstance(cell, list) else sortable(cell)


def _folders(runs: Sequence[Run]) -> dict[Path, str]:
    """The folder of each run, as short as they can be told apart."""
    above = {run.path: str(run.path.parent.absolute()) for run in runs}
    if len(set(above.values())) < 2:
        return {path: Path(folder).name for path, folder in above.items()}
    common = commonpath(above.values())
    return {path: relpath(folder, common) for path, folder in above.items()}


def _needs_note(run: Run) -> bool:
    """Whether a run needs a note: of a damaged one, reading it has made one already."""
    return not run.done and bool(run.reason) and run.state is not RunState.damaged
