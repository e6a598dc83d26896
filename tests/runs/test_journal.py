"""Journals hold their lines, whatever characters are in them, and give back those up to a step."""

import json
from pathlib import Path
from typing import Any

import pytest

from gptexp import files
from gptexp.errors import StorageError
from gptexp.runs import journal as room
from gptexp.runs.journal import Journal, read_journal, rewind


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e", "é", "\r"])
def test_a_sample_with_an_unusual_line_break_survives_a_resume(
    tmp_path: Path, character: str
) -> None:
    journal = Journal(tmp_path / "samples.jsonl")
    lines = [{"step": 3, "text": f"one{character}two"}, {"step": 6, "text": character}]
    for line in lines:
        journal.write(line)
    journal.close()
    assert read_journal(tmp_path / "samples.jsonl") == lines
    assert list(rewind(tmp_path / "samples.jsonl", 6)) == lines


def journal_of(path: Path, *steps: int) -> Path:
    """Lines of these steps, as the sample of the best weights may come after later ones."""
    path.write_text("".join(json.dumps({"step": s, "text": f"of {s}"}) + "\n" for s in steps))
    return path


def steps_of(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("tail", ["", '{"step": 5, "te', '{"step": 50, "text": ""}', "\0\0", "\n"])
@pytest.mark.parametrize("step", [None, 0, 4, 19, 40, 99])
def test_D10_what_comes_after_a_step_is_cut_off(
    tmp_path: Path, step: int | None, tail: str
) -> None:
    path = journal_of(tmp_path / "a.jsonl", *range(0, 41, 2))
    whole = path.read_text().splitlines(keepends=True)
    with path.open("a") as file:
        file.write(tail)
    inode = path.stat().st_ino
    kept = rewind(path, step)
    count = 0 if step is None else min(step // 2 + 1, 21)
    last = [50] if step == 99 and tail.endswith("}") else []
    assert steps_of(path) == [*range(0, 2 * count, 2), *last]
    assert path.read_text().startswith("".join(whole[:count]))
    assert [line["step"] for line in kept] == steps_of(path)
    assert path.stat().st_ino == inode
    before = path.read_bytes()
    rewind(path, step)
    assert path.read_bytes() == before, "twice is as good as once"


def test_P1_a_rewind_looks_at_the_end_alone(tmp_path: Path, monkeypatch: Any) -> None:
    path = journal_of(tmp_path / "a.jsonl", *range(5000))
    looked_at = []
    parsed = room.parsed
    monkeypatch.setattr(room, "parsed", lambda raw: looked_at.append(raw) or parsed(raw))
    rewind(path, 4900)
    assert len(looked_at) < 99 + 2 * room.LOOKED_AT
    assert steps_of(path) == list(range(4901))


def test_P1_lines_up_to_a_step_stay_where_later_ones_come_before_them(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "a.jsonl", 4, 8, 12, 16, 8)
    rewind(path, 8)
    assert steps_of(path) == [4, 8, 8]


def test_P1_a_kill_before_that_file_has_its_name_leaves_all_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal_of(tmp_path / "a.jsonl", 4, 12, 4)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(StorageError):
            rewind(path, 8)
    assert path.read_bytes() == before
    rewind(path, 8)
    assert steps_of(path) == [4, 4]


def test_P1_the_end_is_on_the_disk_before_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal_of(tmp_path / "a.jsonl", *range(9))
    synced = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: synced.append(steps_of(path)))
    rewind(path, 5)
    assert synced == [[0, 1, 2, 3, 4, 5]]


def test_a_last_line_without_its_break_gets_one(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "a.jsonl", 1, 2)
    path.write_bytes(path.read_bytes()[:-1])
    rewind(path, 2)
    journal = Journal(path)
    journal.write({"step": 3})
    journal.close()
    assert steps_of(path) == [1, 2, 3]


def test_a_damaged_line_between_others_takes_none_of_them_along(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "a.jsonl", 1, 2, 3)
    path.write_text(path.read_text().replace('{"step": 2', "{step 2"))
    rewind(path, 9)
    assert [line["step"] for line in read_journal(path)] == [1, 3]
