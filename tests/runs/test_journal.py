"""Journals hold their lines, whatever characters are in them."""

from pathlib import Path

import pytest

from gptexp.runs.journal import Journal, read_journal


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
