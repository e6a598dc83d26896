"""Published tables that laws of what is best are checked against, as columns."""

import csv
from pathlib import Path

import law_points
import numpy as np


def shipped(name: str, **where: str) -> dict[str, np.ndarray]:
    """Columns of a table in tests/laws/tables: the rows that hold the values of `where`."""
    return columns(law_points.TABLES / name, where)


def published(name: str, **where: str) -> dict[str, np.ndarray]:
    """The same of a table without a licence: see law_points.published."""
    return columns(law_points.published(name), where)


def columns(path: Path, where: dict[str, str]) -> dict[str, np.ndarray]:
    """By name: numbers, or words where a cell is none."""
    with path.open(encoding="utf-8", newline="") as file:
        every = list(csv.DictReader(file))
    rows = [row for row in every if all(row[name] == value for name, value in where.items())]
    return {name: _numbers([row[name] for row in rows]) for name in every[0]}


def _numbers(cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells)
