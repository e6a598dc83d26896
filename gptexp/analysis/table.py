"""`gptexp table`: runs, or groups of seeds, as text, CSV, Markdown or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptexp.analysis import groups, records
from gptexp.analysis.groups import FIGURES, Group, Statistic
from gptexp.analysis.records import Run
from gptexp.errors import ConfigError
from gptexp.runs.state import RunState
from gptexp.text import aligned, unknown_name

FORMATS = ("text", "csv", "markdown", "json")

FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes for the begin of one

LOSSES = ("best", "final", "height", "test")  # nats per token; the other figures count things


@dataclass(frozen=True)
class Count:
    """How many runs stand behind a row."""

    runs: int  # that are done
    expected: int
    marks: list[str]  # see Group.marks

    def __str__(self) -> str:
        share = "" if self.runs == self.expected else f" of {self.expected}"
        return ", ".join([f"{self.runs}{share}", *self.marks])


Row = dict[str, Any]  # by column: a plain value, a list of words, a Statistic or a Count


@dataclass(frozen=True)
class Table:
    """The columns, rows and notes that are shown; every row has every column."""

    columns: list[str]
    rows: list[Row]
    notes: list[str]
    damaged: bool = False  # whether a note tells of damage


def build_table(paths: Sequence[Path], by: Sequence[str] = (), sort: str | None = None) -> Table:
    """One row for each run, or for each group with the same values of the keys in `by`.

    Raises ConfigError.
    """
    runs, damaged = records.collect(paths)
    table = per_group(runs, by) if by else per_run(runs)
    if sort is not None:
        if sort not in table.columns:
            raise ConfigError(unknown_name("--sort", sort, table.columns))
        table.rows.sort(key=lambda row: groups.sort_key(_sortable(row[sort])))
    notes = [*table.notes, *map(str, damaged)]
    return Table(table.columns, table.rows, notes, bool(damaged))


def per_run(runs: Sequence[Run]) -> Table:
    """One row for each of the runs, of which there is at least one, in order of what differs."""
    flags, odd = groups.strangers(runs)
    keys = records.varying(runs, records.differing(runs))
    runs = sorted(runs, key=lambda run: [groups.sort_key(run.config.get(k)) for k in keys])
    rows = [
        {
            **{key: run.config.get(key) for key in keys},
            "state": run.state,
            "params": run.params,
            **{figure: getattr(run, figure) for figure in FIGURES},
            "flags": flags.get(run.path, []),
            "run": str(run.path),
        }
        for run in runs
    ]
    notes = [f"{run.path}: {run.state}: {run.reason}" for run in runs if _worth_a_note(run)]
    return Table(list(rows[0]), rows, [*notes, *odd])


def per_group(runs: Sequence[Run], by: Sequence[str]) -> Table:
    """One row for each group with the same values of the keys in `by`; raises ConfigError."""
    flags, odd = groups.strangers(runs)
    grouped = groups.group(runs, by)
    rows = [_group_row(group, by, flags) for group in grouped]
    return Table(list(rows[0]), rows, [*groups.notes(grouped, by), *odd])


@dataclass(frozen=True)
class Cells:
    """A table as it is read: figures rounded, columns without any value left out."""

    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]  # by column: figures go to the right


def cells(table: Table) -> Cells:
    """The cells of a table with at least one row; a run has its name alone where that is unique."""
    columns = [c for c in table.columns if any(row[c] not in (None, []) for row in table.rows)]
    named = _named(table)
    rows = [[_text(column, row) for column in columns] for row in named.rows]
    return Cells(columns, rows, [_is_numeric(table, column) for column in columns])


def render_table(table: Table, form: str) -> str:
    """The table in one of FORMATS, without a line break at the end; CSV has no place for notes."""
    match form:
        case "text":
            return "\n".join([*_aligned(table), *_notes(table, "")])
        case "markdown":
            return "\n".join([*_markdown(table), *_notes(table, "- ")])
        case "csv":
            return _csv(table)
    rows = [_plain(row) for row in table.rows]
    return json.dumps({"rows": rows, "notes": table.notes}, indent=2, ensure_ascii=False)


def check_format(form: str) -> None:
    """Raise ConfigError for what is none of FORMATS."""
    if form not in FORMATS:
        raise ConfigError(unknown_name("--format", form, FORMATS))


def _worth_a_note(run: Run) -> bool:
    """Whether a run needs a note: of a damaged one, reading it has made one already."""
    return not run.done and bool(run.reason) and run.state is not RunState.damaged


def _group_row(group: Group, by: Sequence[str], flags: dict[Path, list[str]]) -> Row:
    of_runs = [flag for run in group.runs for flag in flags.get(run.path, [])]
    return {
        **dict(zip(by, group.values, strict=True)),
        "runs": Count(len(group.done), group.expected, group.marks()),
        "params": group.params(),
        **{figure: group.statistic(figure) for figure in FIGURES},
        "flags": list(dict.fromkeys(of_runs)),
    }


def _aligned(table: Table) -> list[str]:
    shown = cells(table)
    return aligned([shown.columns, *shown.rows], shown.numeric)


def _markdown(table: Table) -> list[str]:
    shown = cells(table)
    rules = ["---:" if numeric else "---" for numeric in shown.numeric]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in shown.rows]
    return [f"| {' | '.join(row)} |" for row in (shown.columns, rules, *escaped)]


def _csv(table: Table) -> str:
    """The table as CSV with exact numbers: a mean in two columns, a count in three."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    statistics = FIGURES if "runs" in table.columns else ()
    heads: list[str] = []
    for column in table.columns:
        parts = [f"{column}_ci95"] if column in statistics else []
        heads += [column, *(["expected", "marks"] if column == "runs" else parts)]
    writer.writerow(map(_harmless, heads))
    for row in table.rows:
        cells: list[Any] = []
        for column in table.columns:
            match row[column]:
                case Statistic() as statistic:
                    cells += [statistic.mean, statistic.ci95]
                case Count() as count:
                    cells += [count.runs, count.expected, "; ".join(count.marks)]
                case list() as words:
                    cells.append("; ".join(words))
                case value:
                    cells += [value, None] if column in statistics else [value]
        writer.writerow(map(_harmless, cells))
    return file.getvalue().rstrip("\n")


def _harmless(cell: Any) -> Any:
    """The cell, marked as text where a spreadsheet would compute it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _notes(table: Table, bullet: str) -> list[str]:
    return ["", *(bullet + note for note in table.notes)] if table.notes else []


def _named(table: Table) -> Table:
    """The table with runs by their names alone, where the names tell them apart."""
    names = [Path(row["run"]).name for row in table.rows if "run" in row]
    if not names or len(set(names)) < len(names):
        return table
    rows = [{**row, "run": name} for row, name in zip(table.rows, names, strict=True)]
    return Table(table.columns, rows, table.notes)


def _is_numeric(table: Table, column: str) -> bool:
    values = [row[column] for row in table.rows if row[column] is not None]
    if column == "runs":
        return not any(count.marks for count in values)
    return all(isinstance(v, int | float | Statistic) and not isinstance(v, bool) for v in values)


def _text(column: str, row: Row) -> str:
    value = row[column]
    match value:
        case None:
            return "-"
        case Statistic():
            return _with_interval(column, value, row)
        case list():
            return ", ".join(value)
        case bool():
            return str(value).lower()
        case int() | float():
            return _rounded(column, value)
    return str(value).replace("\n", "\\n")  # a row is a line


def _with_interval(column: str, statistic: Statistic, row: Row) -> str:
    """`1.8804 ± 0.0205`; with the number of values where it is not that of the runs."""
    interval = "" if statistic.ci95 is None else f" ± {_rounded(column, statistic.ci95)}"
    fewer = f" ({statistic.n})" if statistic.n != row["runs"].runs else ""
    return f"{_rounded(column, statistic.mean)}{interval}{fewer}"


def _rounded(column: str, value: float) -> str:
    if column in LOSSES:
        return f"{value:.4f}"
    if column in ("params", "best_step"):
        return f"{value:,.0f}"
    return f"{value:.12g}"  # a value of the config, as it was given


def _plain(row: Row) -> Row:
    """A row for JSON: a statistic as an object, a count and its marks side by side."""
    plain: Row = {}
    for column, value in row.items():
        if isinstance(value, Count):
            plain |= asdict(value)
        else:
            plain[column] = asdict(value) if isinstance(value, Statistic) else value
    return plain


def _sortable(value: Any) -> Any:
    """The value of a cell to sort by: of a statistic the mean, of a count the runs."""
    match value:
        case Statistic():
            return value.mean
        case Count():
            return value.runs
        case list():
            return ", ".join(value)
    return value
