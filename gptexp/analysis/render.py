"""A table as text, CSV, Markdown or JSON."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gptexp.analysis.columns import OF_GROUPS, OF_PARTS, OWN, SUMMARY, Count, Steps
from gptexp.analysis.groups import Statistic
from gptexp.analysis.labels import short_start
from gptexp.analysis.table import Row, Table
from gptexp.config import AVERAGES
from gptexp.errors import ConfigError
from gptexp.text import aligned, duration, short, unknown_name

FORMATS = ("text", "csv", "markdown", "json")

FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes for the begin of one

MEASURED = (OWN, SUMMARY, OF_GROUPS, OF_PARTS)  # names of columns that are no keys of the config

# How a person reads what was measured, by the last word of a column's name.
COUNTS = ("step", "steps", "best_step", "tokens", "params", "total", "non_embedding")
DECIMALS = {"epoch": 2, "epochs": 2, "seconds": 1} | dict.fromkeys(
    ("best", "final", "height", "test", "val", "loss", "train_loss", "val_loss", "eval_loss"), 4
)
DECIMALS |= dict.fromkeys(("bpb", "val_bpb", "stderr", "gap", "slope"), 4)
DECIMALS |= dict.fromkeys(OF_PARTS, 4) | {"weight": 3}
DECIMALS |= dict.fromkeys(("accuracy", "val_accuracy"), 4)
DECIMALS |= {f"{kind}_loss": 4 for kind in AVERAGES}


@dataclass(frozen=True)
class Cells:
    """A table as it is read: figures rounded, without the columns that tell a person nothing."""

    columns: list[str]
    heads: list[str]
    rows: list[list[str]]
    numeric: list[bool]  # by column: figures go to the right

    def only(self, kept: Sequence[int]) -> "Cells":
        """These columns alone, by their numbers."""
        parts = [[part[i] for i in kept] for part in (self.columns, self.heads, *self.rows)]
        return Cells(parts[0], parts[1], parts[2:], [self.numeric[i] for i in kept])


def cells(table: Table) -> Cells:
    """The cells of a table but for quiet columns; a run has its name alone where that is unique."""
    columns = [column for column in table.columns if column not in table.quiet]
    heads = dict(zip(table.columns, table.heads, strict=True))
    named = _named(table)
    return Cells(
        columns,
        [heads[column] for column in columns],
        [[_text(column, row) for column in columns] for row in named.rows],
        [_is_numeric(table, column) for column in columns],
    )


def render_table(table: Table, form: str) -> str:
    """The table in one of FORMATS, without a line break at the end; CSV has no place for notes."""
    match form:
        case "text":
            return "\n".join(_with_notes(text_lines(cells(table)), table.notes, ""))
        case "markdown":
            return "\n".join(_with_notes(_markdown(table), table.notes, "- "))
        case "csv":
            return _csv(table)
    rows = [dict(_plain(table, row)) for row in table.rows]
    return json.dumps({"rows": rows, "notes": table.notes}, indent=2, ensure_ascii=False)


def text_lines(shown: Cells) -> list[str]:
    """The head and the rows with their columns aligned; nothing without rows."""
    return aligned([shown.heads, *shown.rows], shown.numeric) if shown.rows else []


def check_format(form: str) -> None:
    """Raise ConfigError for what is none of FORMATS."""
    if form not in FORMATS:
        raise ConfigError(unknown_name("--format", form, FORMATS))


def _markdown(table: Table) -> list[str]:
    shown = cells(table)
    if not shown.rows:
        return []
    rules = ["---:" if numeric else "---" for numeric in shown.numeric]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in shown.rows]
    return [f"| {' | '.join(row)} |" for row in (shown.heads, rules, *escaped)]


def _with_notes(lines: list[str], notes: list[str], bullet: str) -> list[str]:
    between = [""] if lines and notes else []
    return [*lines, *between, *(bullet + note for note in notes)]


def _csv(table: Table) -> str:
    """The table as CSV with exact numbers: a mean in two columns, a count in three."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_harmless(head) for column in table.columns for head in _parts(table, column))
    for row in table.rows:
        writer.writerow(
            _harmless(cell) for column in table.columns for cell in _exact(table, column, row)
        )
    return file.getvalue().rstrip("\n")


def _parts(table: Table, column: str) -> list[str]:
    """The heads of a column in CSV."""
    if column in table.means:
        return [column, f"{column}_ci95"]
    return {"runs": ["runs", "expected", "marks"], "step": ["step", "max_steps"]}.get(
        column, [column]
    )


def _exact(table: Table, column: str, row: Row) -> list[Any]:
    """The cells of a row in a column of CSV, as many as it has heads."""
    match row[column]:
        case Statistic() as statistic:
            return [statistic.mean, statistic.ci95]
        case Count() as count:
            return [count.runs, count.expected, "; ".join(count.marks)]
        case Steps() as steps:
            return [steps.step, steps.max_steps]
        case list() as words:
            cell: Any = "; ".join(map(str, words))
        case value:
            cell = value
    return [cell, *[None] * (len(_parts(table, column)) - 1)]


def _harmless(cell: Any) -> Any:
    """The cell, marked as text where a spreadsheet would compute it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _named(table: Table) -> Table:
    """The table with runs by their names alone, where those, or their folders, tell them apart."""
    if not all(isinstance(row.get("run"), str) for row in table.rows):  # a group has several
        return table
    shown = [(row.get("folder"), Path(row["run"]).name) for row in table.rows]
    if len(set(shown)) < len(shown):
        return table
    rows = [{**row, "run": name} for row, (_, name) in zip(table.rows, shown, strict=True)]
    return replace(table, rows=rows)


def _is_numeric(table: Table, column: str) -> bool:
    values = [row[column] for row in table.rows if row[column] is not None]
    if column == "runs":
        return not any(count.marks for count in values)
    numbers = int | float | Statistic | Steps
    return all(isinstance(v, numbers) and not isinstance(v, bool) for v in values)


def _text(column: str, row: Row) -> str:
    value = row[column]
    if column == "branch_from" and isinstance(value, str):
        value = short_start(value)
    match value:
        case None:
            return "-"
        case Statistic():
            return _with_interval(column, value, row)
        case list():
            value = ", ".join(map(str, value))
        case bool():
            return str(value).lower()
        case int() | float():
            return _rounded(column, value)
    return str(value).replace("\n", "\\n")  # a row is a line


def _with_interval(column: str, statistic: Statistic, row: Row) -> str:
    """`1.8804 ± 0.0205`; with the number of values where it is not that of the runs."""
    interval = "" if statistic.ci95 is None else f" ± {_rounded(column, statistic.ci95)}"
    fewer = f" ({statistic.n})" if "runs" in row and statistic.n != row["runs"].runs else ""
    return f"{_rounded(column, statistic.mean)}{interval}{fewer}"


def _rounded(column: str, value: float) -> str:
    measured = "/" in column or any(column in names for names in MEASURED)
    word = re.split("[./]", column)[-1]
    if not measured:
        return f"{value:.12g}"  # a value of the config, as it was given
    if column == "left":
        return duration(value)
    if column in ("tok/s", "train/tokens_per_second"):
        return short(value)
    if word in DECIMALS:
        return f"{value:,.{DECIMALS[word]}f}"
    return f"{value:,.0f}" if word in COUNTS else f"{value:.4g}"


def _plain(table: Table, row: Row) -> Iterator[tuple[str, Any]]:
    """A row for JSON: a statistic as an object, parts of a count or of steps side by side."""
    for column, value in row.items():
        match value:
            case Count() | Steps():
                yield from asdict(value).items()
            case Statistic():
                yield column, asdict(value)
            case None:
                yield from dict.fromkeys(
                    _parts(table, column)[: None if column == "step" else 1]
                ).items()
            case _:
                yield column, value
