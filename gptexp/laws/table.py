"""Runs from elsewhere: a CSV or TSV file with a row for each, as points of a law."""

import csv
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptexp.analysis.units import NATS
from gptexp.errors import DataError, Problem
from gptexp.files import NotRegularError, read_regular, readable
from gptexp.laws.observed import Observations, Rejected, Rejections, Trials
from gptexp.laws.points import Points
from gptexp.laws.trials import best_rows, numbered
from gptexp.text import plural, shortened, unknown_name

MOST_BYTES = 2**26

LEAST, MOST = 1e-39, 1e39  # of a cell, as in files of runs: see runs.schema.Number

MOST_ROWS = 20_000  # that a law is fitted to in minutes


@dataclass(frozen=True)
class Columns:
    """Which columns of a table have what."""

    n: str  # parameters
    tokens: str  # seen
    loss: str
    unique: str | None = None  # tokens of the training text; None where no token was seen twice
    flops: str | None = None  # of the whole training; None where that is 6 N T
    lr: str | None = None  # learning rate; None where it was not varied
    batch: str | None = None  # of an update, in any unit; None where it was not varied
    run: str | None = None  # equal for lengths of one run; None where each row is a run of its own

    def options(self) -> dict[str, str]:
        """The names of the columns by the options that give them."""
        given = {"--n": self.n, "--d": self.tokens, "--loss": self.loss, "--unique": self.unique}
        given |= {"--flops": self.flops, "--lr": self.lr, "--batch": self.batch}
        given |= {"--run": self.run}
        return {option: name for option, name in given.items() if name is not None}


def read_table(
    path: Path, columns: Columns, unit: str = NATS, keep_edges: bool = False
) -> Observations:
    """The rows of a table as points, but for those with a cell beyond LEAST and MOST.

    Of rows with several learning rates, the best are points: see trials.best_rows.

    Tabs are between the columns of a .tsv, elsewhere what the header has most of: commas,
    semicolons or tabs. Raises DataError for what cannot be read, and for a cell that is no number.
    """
    rows = _rows(path)
    _, header = next(rows, (0, []))
    if not header:
        raise DataError(Problem(path, "empty", "give a table with a header and a row for each run"))
    places, options = _places(header, columns), columns.options()
    numbers = {option: name for option, name in options.items() if option != "--run"}
    kept: list[list[float]] = []
    labels: list[str] = []
    runs: list[str] = []
    rejected = Rejections()
    for line, cells in rows:
        label = f"line {line}"
        if len(cells) != len(header):
            what = f"line {line} has {plural(len(cells), 'cell')}, and the header {len(header)}"
            raise DataError(Problem(path, what, 'put "quotes" around cells with separators'))
        words = {name: cells[places[name]] for name in numbers.values()}
        values = {name: _number(path, line, name, cell) for name, cell in words.items()}
        if wrong := [name for name, value in values.items() if not LEAST <= value <= MOST]:
            typed = ", ".join(f"{name}={shortened(words[name])}" for name in wrong)
            reason = f"no number above 0 ({LEAST:g} to {MOST:g}): {typed}"
            rejected.add(Rejected(label, reason))
            continue
        kept.append([values[name] for name in numbers.values()])
        labels.append(label)
        runs.append((cells[places[columns.run]] if columns.run else "") or label)
        if len(labels) > MOST_ROWS:
            what = f"more than {MOST_ROWS:,} rows, too many to fit"
            raise DataError(Problem(path, what, "take some of them"))
    table = np.array(kept, dtype=np.float64).reshape(-1, len(numbers)).T
    of = dict(zip(numbers, table, strict=True))
    everything = Observations(
        points=Points.of(of["--n"], of["--d"], of["--loss"], of.get("--unique"), numbered(runs)),
        labels=labels,
        rejected=rejected,
        notes=[],
        convention=_in_words(columns),
        unit=unit,
        flops=of.get("--flops"),
    )
    if columns.lr is None:
        return everything
    trials = Trials(everything.points, of["--lr"], of.get("--batch"))
    return best_rows(everything, trials, keep_edges)


def _in_words(columns: Columns) -> str:
    unique = columns.unique or "as T, no token was seen twice"
    return f"N: {columns.n}; T: {columns.tokens}; U: {unique}; the loss: {columns.loss}"


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line on which it ends."""
    text = _text(path)
    first = text.partition("\n")[0]
    most = max(",;\t", key=first.count)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="\t" if path.suffix.lower() == ".tsv" else most,
        strict=True,
        skipinitialspace=True,
    )
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        what = f"line {reader.line_num} is no CSV: {error}"
        raise DataError(Problem(path, what, "save it as CSV anew")) from error


def _text(path: Path) -> str:
    fix = "name a CSV file, or a folder of runs"
    try:
        raw = read_regular(Path(os.path.realpath(path)), MOST_BYTES)
    except NotRegularError as error:
        raise DataError(Problem(path, "not a regular file", fix)) from error
    except OSError as error:
        raise DataError(Problem(path, f"{error.strerror}", readable(error, fix))) from error
    if (at := raw.find(b"\0")) >= 0:  # as in UTF-16
        raise _not_text(path, raw, at)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, raw, error.start) from error


def _not_text(path: Path, raw: bytes, at: int) -> DataError:
    line = raw.count(b"\n", 0, at) + 1
    return DataError(Problem(path, f"line {line} is no UTF-8 text", "save it as CSV in UTF-8"))


def _places(header: list[str], columns: Columns) -> dict[str, int]:
    """Where each of the columns is; raises DataError."""
    problems = [
        unknown_name(option, name, [shortened(word) for word in header if word])
        for option, name in columns.options().items()
        if name not in header
    ]
    problems += [
        Problem(option, f"{header.count(name)} columns are called {name}", "rename one")
        for option, name in columns.options().items()
        if header.count(name) > 1
    ]
    DataError.raise_for(problems)
    return {name: header.index(name) for name in columns.options().values()}


def _number(path: Path, line: int, column: str, cell: str) -> float:
    """The number in a cell, NaN of an empty one; raises DataError."""
    try:
        return float(cell.replace("_", "?")) if cell else math.nan
    except ValueError as error:
        what = f"line {line}, column {column}: {shortened(repr(cell))} is no number"
        fix = "write it as 1234.5 or 1e9, or leave the cell empty"
        raise DataError(Problem(path, what, fix)) from error
