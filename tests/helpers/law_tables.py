"""Published tables that laws are checked against, as columns."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

SHIPPED = Path(__file__).parents[1] / "laws" / "tables"


def shipped(name, **where):
    """Columns of a table in tests/laws/tables: the rows that hold the values of `where`."""
    return columns(SHIPPED / name, where)


def published(name, **where):
    """Columns of a table in GPTEXP_LAWS_DIR, whose licence does not let it lie here."""
    folder = os.environ.get("GPTEXP_LAWS_DIR")
    if not folder:
        pytest.skip("GPTEXP_LAWS_DIR names no folder of published tables")
    return columns(Path(folder) / name, where)


def columns(path, where):
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if all(row[name] == value for name, value in where.items())
        ]
    return {name: _numbers([row[name] for row in rows]) for name in rows[0]}


def _numbers(texts):
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return texts
