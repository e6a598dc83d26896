"""A parquet, as tables of texts are published: its groups of rows, and the texts in one column."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from gptexp.errors import DataError, GptexpError, Problem
from gptexp.text import listed, shortened


def rows(file: BufferedReader, path: Path, field: str) -> int:
    """How many rows there are; raises DataError where there is none, or no such column."""
    with _read_by(path):
        table = _library().ParquetFile(file)
        names = table.schema_arrow.names
        count: int = table.metadata.num_rows
    if field not in names:
        raise DataError(Problem(path, *lacking(field, names)))
    if not count:
        raise DataError(Problem(path, "no rows", "give a file with text, or leave it out"))
    return count


def groups(file: BufferedReader, path: Path) -> list[int]:
    """The row at which each group begins, and the end of all; raises DataError."""
    with _read_by(path):
        return _bounds(_library().ParquetFile(file))


def texts(file: BufferedReader, path: Path, field: str, begin: int, end: int) -> Iterator[str]:
    """The text in each of the rows [begin, end), of which a group is read at once.

    Raises DataError for a row without one.
    """
    with _read_by(path):
        table = _library().ParquetFile(file)
        for group, (first, last) in enumerate(pairwise(_bounds(table))):
            if first >= end or last <= begin:
                continue
            column = table.read_row_group(group, [field]).column(0)
            cells = column.slice(max(begin - first, 0), min(end, last) - max(begin, first))
            for number, text in enumerate(cells.to_pylist(), start=max(begin, first)):
                if not isinstance(text, str):
                    what = f"row {number + 1}: {field} is {text!r:.40}, and no text"
                    raise DataError(Problem(path, what, "name another --field"))
                yield text


def lacking(field: str, names: list[str]) -> tuple[str, str]:
    """What is wrong with a row that has these fields alone, and the fix."""
    what = f"no {field}" + (f" among {listed(names)}" if names else "")
    return what, "name the one that holds the text: --field NAME"


def _bounds(table: Any) -> list[int]:
    sizes = (table.metadata.row_group(group).num_rows for group in range(table.num_row_groups))
    return [0, *accumulate(sizes)]


@contextmanager
def _read_by(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises into one line."""
    try:
        yield
    except GptexpError:
        raise
    except Exception as error:  # a damaged file makes it raise almost anything
        what = f"no parquet: {shortened(str(error))}"
        raise DataError(Problem(path, what, "give a whole one")) from error


def _library() -> Any:
    """The library; raises DataError where it is not installed."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        what = "parquet needs pyarrow, which is not installed"
        raise DataError(Problem("pyarrow", what, "pip install -e '.[parquet]'")) from error
    return parquet
