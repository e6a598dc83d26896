"""Runs for `gptexp reproduce`: changed with their seals made anew, and judged in this process."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from interruptions import forked

from gptexp.experiment import rerun
from gptexp.experiment.reproduce import reproduce
from gptexp.runs.seal import SEAL, journal_digests, sealed

Judge = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """`judge(run, "full")`: exit code and lines; what is made again runs in forked children."""

    def start(job: rerun.Job) -> tuple[int, str]:
        def work() -> int:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            return rerun.work(job)

        return forked(work), "see above"

    monkeypatch.setattr(rerun, "start", start)

    def call(run: Path, level: str = "verify", steps: int | None = None) -> tuple[int, list[str]]:
        lines: list[str] = []
        code = reproduce(run, level, steps, lines.append)
        assert not any("\n" in line for line in lines)
        return code, lines

    return call


def change(run: Path, name: str, alter: Callable[[Any], object]) -> None:
    """Change a file of a run as one would who then makes all seals anew."""
    path = run / name
    if name.endswith(".jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        alter(lines)
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    elif name.endswith(".yaml"):
        values = yaml.safe_load(path.read_text())
        alter(values)
        path.write_text(yaml.safe_dump(values, sort_keys=False))
    else:
        rewrite(path, alter)
    if (run / "summary.json").exists():
        rewrite(run / "summary.json", lambda value: value.update(files=journal_digests(run)))


def rewrite(path: Path, alter: Callable[[Any], object]) -> None:
    """Change the object in a JSON file, and its seal, where it has one."""
    value = json.loads(path.read_text())
    had_seal = value.pop(SEAL, None) is not None
    alter(value)
    path.write_text(json.dumps(sealed(value) if had_seal else value, indent=2) + "\n")


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Bytes and time of every file below the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
