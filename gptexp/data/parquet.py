"""A parquet, as tables of texts are published: its groups of rows, and the texts in one column."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import accumulate
from pathlib import Path
from typing import Any

from gptexp.errors import DataError, GptexpError, Problem
from gptexp.text import listed, shortened


def rows(file: BufferedReader, path: Path, field: str) -> int:
    """How many rows there are; raises DataError where there is none, or no such column."""
    with _read_by(path):
        names = _library().ParquetFile(file).schema_arrow.names
    if field not in names:
        raise DataError(Problem(path, *lacking(field, names)))
    if not (count := read_groups(file, path).bounds[-1]):
        raise DataError(Problem(path, "no rows", "give a file with text, or leave it out"))
    return count


@dataclass(frozen=True, eq=False)
class Groups:
    """What a file says of its groups of rows, read once."""

    metadata: Any  # as the library has it
    bounds: list[int]  # [groups + 1]; the row at which each begins, and the end of all


def read_groups(file: BufferedReader, path: Path) -> Groups:
    """The groups of rows; raises DataError."""
    with _read_by(path):
        metadata = _library().ParquetFile(file).metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if any(size < 0 for size in sizes):
            raise ValueError("a group of less than no rows")
        return Groups(metadata, [0, *accumulate(sizes)])


def texts(
    file: BufferedReader, path: Path, field: str, groups: Groups, begin: int, end: int
) -> Iterator[str]:
    """The text in each of the rows [begin, end), of which a group is read at once.

    Raises DataError for a row without one.
    """
    bounds = groups.bounds
    with _read_by(path):
        table = _library().ParquetFile(file, metadata=groups.metadata)
        for group in range(bisect_right(bounds, begin) - 1, bisect_left(bounds, end)):
            first, last = bounds[group : group + 2]
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
