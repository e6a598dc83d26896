"""Results by commit: a line of JSON for each call of `python -m benchmarks.speed`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.table import Row

FILE = ROOT / "results" / "speed.jsonl"
SAME = ("cpu", "cores", "device", "dtype")  # or numbers are not compared

Rows = Mapping[str, list[Row]]  # by setting


def keep(file: Path, facts: dict[str, Any], rows: Rows) -> None:
    """Add a line."""
    found = [{"setting": name, **row.to_dict()} for name, each in rows.items() for row in each]
    add(file, {**facts, "rows": found})


def add(file: Path, found: dict[str, Any]) -> None:
    """Add a line of what was found, and when."""
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"taken": taken, **found}) + "\n")


class Before:
    """The newest results of each kind, of this machine and other code."""

    def __init__(self, file: Path, facts: dict[str, Any], against: str | None) -> None:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.rows: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
        for record in map(json.loads, lines):
            commit = record["commit"]
            same = all(record[key] == facts[key] for key in ("commit", "dirty"))
            wanted = commit.startswith(against) if against else not same
            if wanted and all(record[key] == facts[key] for key in SAME):
                for row in record["rows"]:
                    self.rows[row["setting"], row["what"]] = row, commit
        if against and not self.rows:
            raise SystemExit(f"--against {against}: {file} has no results of it on this machine")

    def beside(self, setting: str, row: Row) -> str:
        """What a row was, for the end of its line; empty where that is not known."""
        found = self.rows.get((setting, row.what.strip()))
        return row.beside(*found) if found else ""
