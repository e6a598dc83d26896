"""I6: what is no line of a journal is left out, in bounded memory; I2: what is no file, refused."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptexp.errors import StorageError
from gptexp.runs import lines
from gptexp.runs.journal import Journal, Samples, read_journal, rewind
from gptexp.runs.lines import Lines

GOOD = [
    {"step": step, "tokens": 8 * step, "epoch": step / 7, "seconds": 0.5, "val/loss": 3.0}
    for step in (0, 10, 20, 30)
]

NESTED = 100_000

DAMAGED = {
    "no JSON": b"hello",
    "half a line": b'{"step": 12, "val/lo',
    "bytes": b"\xff\xfe\0\0",
    "a list": b"[1, 2]",
    "a number": b"12",
    "without a step": b'{"val/loss": 1.0}',
    "a list for a step": b'{"step": [12], "val/loss": 1.0}',
    "a step with a fraction": b'{"step": 12.0, "val/loss": 1.0}',
    "a step that is true": b'{"step": true, "val/loss": 1.0}',
    "a huge step": b'{"step": 1000000000000000000000000000000, "val/loss": 1.0}',
    "a step of 10,000 digits": b'{"step": ' + b"1" * 10_000 + b', "val/loss": 1.0}',
    "a negative step": b'{"step": -1, "val/loss": 1.0}',
    "a step after the end": b'{"step": 99, "val/loss": 1.0}',
    "a step before": b'{"step": 9, "val/loss": 1.0}',
    "a step again": b'{"step": 10, "val/loss": 1.0}',
    "a list for a loss": b'{"step": 12, "val/loss": [1.0]}',
    "a word for a loss": b'{"step": 12, "val/loss": "1.0"}',
    "true for a loss": b'{"step": 12, "val/loss": true}',
    "an infinite loss": b'{"step": 12, "val/loss": Infinity}',
    "no number": b'{"step": 12, "val/loss": NaN}',
    "a number too large": b'{"step": 12, "val/loss": 1e999}',
    "squares too large": b'{"step": 12, "val/loss": 1e200}',
    "a whole number too large": b'{"step": 12, "val/loss": 1' + b"0" * 400 + b"}",
    "tokens in words": b'{"step": 12, "tokens": "many", "val/loss": 1.0}',
    "no epoch": b'{"step": 12, "epoch": null, "val/loss": 1.0}',
    "flags in a list": b'{"step": 12, "val/loss": null, "nonfinite": ["val/loss"]}',
    "a flag that is a list": b'{"step": 12, "val/loss": null, "nonfinite": {"val/loss": []}}',
    "a flag in other words": b'{"step": 12, "val/loss": null, "nonfinite": {"val/loss": "x"}}',
    "nested brackets": b'{"step": 12, "val/loss": ' + b"[" * NESTED + b"]" * NESTED + b"}",
    "nested objects": b'{"a":' * NESTED + b"1" + b"}" * NESTED,
    "too long": b'{"step": 12, "text": "' + b"x" * lines.LONGEST + b'"}',
}


def written(path: Path, *extra: bytes) -> Path:
    """GOOD, with `extra` after its second line."""
    good = [json.dumps(line).encode() for line in GOOD]
    path.write_bytes(b"".join(line + b"\n" for line in (*good[:2], *extra, *good[2:])))
    return path


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_I6_a_damaged_line_is_left_out_and_the_others_stay(tmp_path: Path, damaged: bytes) -> None:
    journal = Lines(written(tmp_path / "metrics.jsonl", damaged))
    assert list(journal) == GOOD
    assert journal.damage() == [f"{journal.path}: 1 damaged line left out"]
    assert list(journal) == GOOD and journal.left_out == 1, "a pass begins anew"


def test_I6_all_of_them_together_are_as_many(tmp_path: Path) -> None:
    journal = Lines(written(tmp_path / "metrics.jsonl", *DAMAGED.values()))
    assert list(journal) == GOOD
    assert journal.left_out == len(DAMAGED)


@pytest.mark.parametrize("step", [0, 5, 31, 10**9])
def test_I6_an_odd_last_line_takes_none_of_the_others_with_it(tmp_path: Path, step: int) -> None:
    path = written(tmp_path / "metrics.jsonl")
    with path.open("a") as file:
        file.write(json.dumps({"step": step, "val/loss": 1.0}) + "\n")
    assert read_journal(path)[: len(GOOD)] == GOOD


def test_lines_of_one_step_with_other_curves_both_count(tmp_path: Path) -> None:
    log = b'{"step": 10, "train/loss": 2.0}'
    journal = Lines(written(tmp_path / "metrics.jsonl", log, b"", log))
    assert [line["step"] for line in journal] == [0, 10, 10, 20, 30]
    assert journal.left_out == 1, "the second log line; an empty one is nothing"


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl")
    with path.open("a") as file:
        file.write('{"step": 40, "val/')
    journal = Lines(path)
    assert list(journal) == GOOD and journal.damage() == []


def test_lines_that_are_written_during_a_pass_are_for_the_next(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.jsonl")
    journal = iter(Lines(path))
    found = [next(journal)]
    with path.open("a") as file:
        file.write('{"step": 40, "val/loss": 1.0}\n')
    assert [*found, *journal] == GOOD
    assert read_journal(path)[-1]["step"] == 40


def test_a_pass_over_some_lines_does_not_open_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": n, "val/loss" if n % 10 == 0 else "train/loss": 1.0} for n in range(1000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = []
    parsed = lines.parsed
    monkeypatch.setattr(lines, "parsed", lambda raw: opened.append(raw) or parsed(raw))
    assert len(list(Lines(path, having=b'"val/loss"'))) == 100
    assert len(opened) == 100 + lines.LOOKED_AT
    assert Lines(path).last_step() == 999 and Lines(path).last() == rows[-1]
    assert len(opened) < 130


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", ["", "\n", "\n\n", "a", "ab\ncdefgh\n", "\nabc\n\nd", "abcdefgh"])
def test_lines_from_the_end_are_those_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    monkeypatch.setattr(lines, "LONGEST", 6)
    path = tmp_path / "a"
    path.write_text(text)
    expected, begin = [], 0
    for line in text.split("\n"):
        expected.append((begin, line.encode() if len(line) < 6 else None))
        begin += len(line) + 1
    with path.open("rb") as file:
        assert list(lines.backward(file, len(text))) == expected[::-1]
        found = [raw and raw.removesuffix(b"\n") for raw in lines.forward(file, len(text))]
    shown = [line for _, line in expected]
    assert found == (shown[:-1] if shown[-1] == b"" else shown)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["at the end", "in the middle"])
def test_I6_a_file_without_line_breaks_is_never_in_memory(tmp_path: Path, place: str) -> None:
    path = written(tmp_path / "metrics.jsonl")
    with path.open("ab") as file:
        file.truncate(100_000_000)
        if place == "in the middle":
            file.write(b'\n{"step": 40, "val/loss": 1.0}\n')
    tracemalloc.start()
    found = read_journal(path)
    rewind(path, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * lines.LONGEST
    assert found[:4] == GOOD and read_journal(path) == GOOD[:3]


# What is no file


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    path.with_name("elsewhere").write_text(json.dumps(GOOD[0]) + "\n")
    path.symlink_to(path.with_name("elsewhere"))


def circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [fifo, folder, zeros, link, circle])
@pytest.mark.parametrize(
    "use",
    [
        read_journal,
        lambda path: Lines(path).last(),
        lambda path: Lines(path).last_step(),
        lambda path: list(Samples(Lines(path))),
        lambda path: rewind(path, 3),
        lambda path: rewind(path, None),
        Journal,
    ],
)
def test_I2_what_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], use: Callable[[Path], Any]
) -> None:
    path = tmp_path / "metrics.jsonl"
    make(path)
    with pytest.raises(StorageError, match=r"metrics\.jsonl: not a regular file\. Fix: remove it"):
        use(path)
    assert path.is_symlink() or path.exists()


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lines, "open_regular", refuse)
    with pytest.raises(StorageError, match=r"Permission denied\. Fix: make it readable"):
        read_journal(tmp_path / "metrics.jsonl")


def test_a_missing_journal_has_no_lines(tmp_path: Path) -> None:
    journal = Lines(tmp_path / "metrics.jsonl")
    assert list(journal) == [] and journal.last() == {} and journal.last_step() is None


SAMPLE = {"step": 6, "prompt": "", "temperature": 0.8, "top_k": None, "seed": 1, "text": "a"}


@pytest.mark.parametrize(
    "other",
    [
        {"text": 3},
        {"text": None},
        {"prompt": ["a"]},
        {"temperature": "hot"},
        {"top_k": 1.5},
        {"seed": None},
        {"more": 1},
    ],
)
def test_I6_a_line_that_is_no_sample_is_passed_over(tmp_path: Path, other: Any) -> None:
    path = tmp_path / "samples.jsonl"
    rows = [SAMPLE, {**SAMPLE, "step": 8, **other}, {"step": 9}, {**SAMPLE, "step": 4}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [sample.step for sample in Samples(Lines(path))] == [6, 4], "the best one may come last"


def test_half_a_character_in_a_sample_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({**SAMPLE, "text": "a\ud800b"}) + "\n")
    [sample] = Samples(Lines(path))
    assert sample.text == "a?b"
