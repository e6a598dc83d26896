"""Files to be tokenized: cut where no token spans the cut, and refused with the place."""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptexp.data import sources
from gptexp.data.sources import cut_into_pieces, open_source
from gptexp.errors import DataError


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 16)


def written(folder: Path, content: str | bytes, name: str = "a.txt") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def texts(name: str, val_fraction: float = 0.0, field: str = "text") -> list[tuple[str, str, bool]]:
    cut = cut_into_pieces([open_source(name, field)], val_fraction)
    return [(piece.split, *document) for piece in cut for document in piece.documents()]


def refused(name: str, field: str = "text") -> tuple[str, str, str]:
    with pytest.raises(DataError) as caught:
        texts(name, field=field)
    [problem] = caught.value.problems
    assert "\n" not in str(problem)
    return str(problem.subject), problem.what, problem.fix


def test_a_text_is_cut_before_a_space_behind_something_else(tmp_path):
    text = "first things  \n second and the third\r\n\r\nthing é ü ß"
    found = texts(written(tmp_path, text))
    assert "".join(text for _, text, _ in found) == text.replace("\r\n", "\n")
    assert len(found) > 2 and [ends for *_, ends in found] == [False] * (len(found) - 1) + [True]
    for (_, before, _), (_, after, _) in pairwise(found):
        assert after[0] in " \n" and not before[-1].isspace()


@given(st.text(st.sampled_from("ab é\u3000𝄞\r\n\t\x85"), min_size=1, max_size=120))
@settings(max_examples=40)
def test_pieces_of_any_text_are_the_text(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("any")
    found = texts(written(folder, text))
    assert "".join(part for _, part, _ in found) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_a_text_without_spaces_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "WINDOW", 8)
    monkeypatch.setattr(sources, "UNBROKEN", 16)
    found = texts(written(tmp_path, "é𝄞" * 40))
    assert "".join(text for _, text, _ in found) == "é𝄞" * 40
    assert len(found) > 4


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert texts(written(tmp_path, "\ufeffab"))[0][1] == "ab"
    lines = written(tmp_path, '\ufeff{"text": "ab"}', "a.jsonl")
    assert texts(lines) == [("train", "ab", True)]


def test_validation_is_the_end_of_a_text_from_a_line_on(tmp_path):
    lines = [f"line {number}\n" for number in range(10)]
    found = texts(written(tmp_path, "".join(lines)), val_fraction=0.25)
    assert "".join(text for split, text, _ in found if split == "val") == "".join(lines[8:])
    assert "".join(text for split, text, _ in found if split == "train") == "".join(lines[:8])


def test_a_line_of_json_is_a_document_and_its_other_fields_are_skipped(tmp_path):
    lines = '{"id": [1, {"a": null}], "body": "one"}\n\n  \n{"body": "two\\nlines"}\r\n{"body": ""}'
    found = texts(written(tmp_path, lines, "a.jsonl"), field="body")
    assert [text for _, text, _ in found] == ["one", "two\nlines", ""]
    assert all(ends for *_, ends in found)


def test_validation_is_the_last_documents_over_all_files(tmp_path):
    names = [written(tmp_path, f'{{"text": "{c}"}}\n' * 5, f"{c}.jsonl") for c in "ab"]
    cut = cut_into_pieces([open_source(name, "text") for name in names], 0.3)
    found = [(piece.split, text) for piece in cut for text, _ in piece.documents()]
    assert found == [("train", "a")] * 5 + [("train", "b")] * 2 + [("val", "b")] * 3


@pytest.mark.parametrize("content", ["one line", '{"text": "one"}'])
def test_a_fraction_that_leaves_a_part_empty_is_refused(tmp_path, content):
    name = written(tmp_path, content, "a.jsonl")
    with pytest.raises(DataError, match="--val-fraction: 0.1 leaves no document for validation"):
        texts(name, val_fraction=0.1)


@pytest.mark.parametrize(
    ("name", "content", "line", "words"),
    [
        ("a.txt", b"good line\n" * 9 + b"bad \xff", 10, "not UTF-8: byte 0xff at offset 94"),
        ("a.txt", b"good line\n" * 9 + b"bad \0 \xff", 10, "a NUL byte at offset 94"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b"text\n", 10, "not JSON"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b"{", 10, "not JSON"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b'{"text": "\xff"}', 10, "not JSON"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b'["text"]', 10, "no JSON object"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b'{"body": "a"}', 10, "no text among body"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b"{}", 10, "no text"),
        ("a.jsonl", b'{"text": "a"}\n' * 9 + b'{"text": 3}', 10, "text is 3, and no text"),
        ("a.jsonl", b'{"text": "a", "b": NaN}', 1, "not JSON"),
        ("a.jsonl", b'{"b": ' + b"[" * 9000 + b"]" * 9000 + b"}", 1, "nested too deeply"),
    ],
)
def test_what_is_no_text_is_told_with_its_line(tmp_path, name, content, line, words):
    subject, what, _ = refused(written(tmp_path, content, name))
    assert subject == f"{tmp_path / name}:{line}"
    assert words in what


def test_what_is_no_file_with_text_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert refused(str(tmp_path))[1] == "a folder, not a file"
    assert refused(str(tmp_path / "none.txt"))[1] == "not there"
    assert "not a regular file" in refused(str(tmp_path / "pipe.txt"))[1]
    assert refused(written(tmp_path, ""))[1] == "empty"
    assert "standard input" in refused("-")[1]
    assert "null" in refused("a\0b")[1]


def test_a_link_to_a_text_is_read(tmp_path):
    (tmp_path / "link.txt").symlink_to(written(tmp_path, "text"))
    assert texts(str(tmp_path / "link.txt"))[0][1] == "text"


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    name = written(tmp_path, "words " * 20)
    cut = cut_into_pieces([open_source(name, "text")], 0)
    written(tmp_path, "other " * 21)
    with pytest.raises(DataError, match="changed while it was read"):
        list(cut[-1].documents())


def test_a_line_that_no_memory_may_hold_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_LINE", 100)
    lines = ['{"text": "short"}', json.dumps({"text": "x" * 200}), '{"text": "short"}']
    subject, what, _ = refused(written(tmp_path, "\n".join(lines), "a.jsonl"))
    assert subject.endswith("a.jsonl:2") and what == "more than 100 bytes in a line"


def test_a_parquet_needs_a_library_and_says_which(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    _, what, fix = refused(written(tmp_path, "PAR1", "a.parquet"))
    assert "needs pyarrow" in what and "[parquet]" in fix


def test_a_row_of_a_parquet_is_a_document(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [f"row {number}" for number in range(10)]
    table = pa.table({"id": list(range(10)), "body": rows})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, row_group_size=4)
    found = texts(str(path), val_fraction=0.3, field="body")
    assert [text for split, text, _ in found if split == "val"] == rows[7:]
    assert [text for _, text, _ in found] == rows
    assert refused(str(path))[1] == "no text among id, body"
    assert "row 1: id is 0, and no text" in refused(str(path), "id")[1]
    path.write_bytes(path.read_bytes()[:-20])
    assert "no parquet" in refused(str(path), "body")[1]


def test_the_groups_of_a_parquet_are_read_once_for_all_its_pieces(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": list("abcdefgh")}), path, row_group_size=1)
    source = open_source(str(path), "text")
    read, calls = sources.parquet.read_groups, []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return read(*args)

    monkeypatch.setattr(sources.parquet, "read_groups", counted)
    pieces = cut_into_pieces([source], 0.0)
    found = [text for piece in pieces for text, _ in piece.documents()]
    assert (len(pieces), found, len(calls)) == (8, list("abcdefgh"), 1)


def test_a_parquet_of_what_the_library_does_not_read_is_refused(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["one"]}), path)

    def unread(*_: object) -> None:  # of a type or a codec that some file names
        raise pyarrow.lib.ArrowNotImplementedError("Integers with less than 8 bits")

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", unread)
    assert refused(str(path))[1] == "no parquet: Integers with less than 8 bits"
