"""The bytes of a corpus read as text: files that are no text, marks and line ends, digests."""

import errno
import hashlib
import logging
import os
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from interruptions import only_run, stop_before_step
from text_files import data_problem, settings

from gptexp import assets
from gptexp.config import DataConfig
from gptexp.data.find import find_corpus
from gptexp.data.load import load_corpus
from gptexp.data.read import corpus_digest, read_text
from gptexp.errors import DataError
from gptexp.experiment.run import run_experiment
from gptexp.tokenizers.char import CharTokenizer


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], str]:
    """`read(b"...")`: what a file with these bytes is read as."""

    def call(raw: bytes) -> str:
        path = tmp_path / "corpus.txt"
        path.write_bytes(raw)
        return read_text(settings(path))

    return call


# B1: the file


def test_B1_a_path_that_is_not_there(tmp_path):
    line = data_problem(read_text, settings(tmp_path / "no.txt"))
    assert line.startswith(f"data.path: {tmp_path / 'no.txt'} is not there")


def test_B1_a_path_that_is_a_folder(tmp_path):
    line = data_problem(read_text, settings(tmp_path))
    assert line.startswith(f"data.path: {tmp_path} is a folder")


def test_B1_an_empty_path(tmp_path):
    assert data_problem(read_text, settings("")).startswith("data.path: ")


def test_B1_a_path_that_cannot_be_read(tmp_path, monkeypatch):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert data_problem(read_text, settings(loop)).startswith(f"data.path: {loop} ")

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    line = data_problem(read_text, settings(tmp_path / "secret.txt"))
    assert str(tmp_path / "secret.txt") in line
    assert os.strerror(errno.EACCES) in line


def test_B1_a_path_that_is_no_regular_file_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in data_problem(read_text, settings(tmp_path / "pipe"))


def test_B1_a_path_with_a_line_break_is_still_one_line(tmp_path):
    assert r"a\nb" in data_problem(read_text, settings(tmp_path / "a\nb"))


def test_B1_the_digest_refuses_what_read_refuses(tmp_path):
    assert data_problem(corpus_digest, settings(tmp_path)).startswith("data.path: ")


def test_B1_a_run_of_a_missing_file_creates_nothing(small, tmp_path):
    outcome = run_experiment(small(f"data.path={tmp_path / 'no.txt'}"), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("refused", 2)
    assert not (tmp_path / "outputs").exists()


# B2, B3: what is no text


@pytest.mark.parametrize("raw", [b"", b"\xef\xbb\xbf", b" \t\r\n \n", "\u2003\u3000\n".encode()])
def test_B2_an_empty_text_or_one_of_white_space(read, tmp_path, raw):
    line = data_problem(read, raw)
    assert line.startswith(f"{tmp_path / 'corpus.txt'}: holds no text")
    assert f"{len(raw)} bytes" in line


@pytest.mark.parametrize(
    ("raw", "offset", "line_number"),
    [
        (b"\xe9t\xe9", 0, 1),
        (b"ab\ncd\nef\xe9", 8, 3),
        (b"\xef\xbb\xbfab\n\xff", 6, 2),
        ("🙂\n".encode() * 3 + b"a\x80", 16, 4),
        ("ab\n🙂".encode()[:-1], 3, 2),
        (b"ab\n\xed\xa0\x80", 3, 2),
        (b"ab\n\xc0\xafx", 3, 2),
    ],
    ids=["latin-1", "third line", "after a mark", "astral", "cut", "surrogate", "overlong"],
)
def test_B3_not_utf_8_names_offset_and_line_of_the_first_bad_byte(read, raw, offset, line_number):
    line = data_problem(read, raw)
    assert "not UTF-8" in line
    assert f"0x{raw[offset]:02x}" in line
    assert f"offset {offset}, line {line_number}." in line


def test_B3_lines_are_counted_by_the_rule_that_ends_them(read):
    assert "offset 4, line 3." in data_problem(read, b"a\rb\r\xff")
    assert "offset 6, line 3." in data_problem(read, b"a\r\nb\r\n\xff")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_B3_utf_16_and_its_kin_are_refused_at_their_first_bad_byte(read, encoding):
    line = data_problem(read, "To be\nor not".encode(encoding))
    with_mark = encoding in ("utf-16", "utf-32")
    offset = 0 if with_mark or encoding == "utf-16-be" else 1
    assert f"offset {offset}, line 1." in line
    assert (encoding.upper() in line) == with_mark


def test_B3_nul_bytes_are_not_text(read):
    line = data_problem(read, b"ab\nc\0d\0")
    assert "NUL" in line
    assert "offset 4, line 2." in line


def test_B3_the_first_bad_byte_is_named_when_there_are_several_kinds(read):
    assert "offset 1, line 1." in data_problem(read, b"a\xe9b\nc\0")
    assert "offset 1, line 1." in data_problem(read, b"a\0b\nc\xe9")


def test_B3_a_zip_is_not_text(read, tmp_path):
    with zipfile.ZipFile(tmp_path / "corpus.zip", "w") as archive:
        archive.writestr("input.txt", "to be or not to be")
    raw = (tmp_path / "corpus.zip").read_bytes()
    assert f"offset {raw.index(0)}, line 1." in data_problem(read, raw)


# B5: one rule on every system


def test_B5_a_byte_order_mark_and_the_line_ends_of_other_systems_read_as_plain_text(read):
    plain = "to be\n\nor not\n"
    raw = plain.encode()
    for same in (
        raw,
        b"\xef\xbb\xbf" + raw,
        raw.replace(b"\n", b"\r\n"),
        raw.replace(b"\n", b"\r"),
        b"\xef\xbb\xbfto be\r\n\ror not\n",
    ):
        text = read(same)
        assert text == plain
        assert CharTokenizer.of(text).characters == "\n benort"


def test_B5_only_the_mark_at_the_start_is_dropped_and_nothing_else_is_changed(read):
    text = "\ta\u2028b \ufeff\x0b\x0c\x85\u00a0e\u0301\n\n"
    assert read(text.encode()) == text
    assert read(b"\xef\xbb\xbf\xef\xbb\xbfa") == "\ufeffa"


def test_B5_the_rule_does_not_hang_on_the_system_s_line_ends(read, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    assert read(b"a\r\nb\n") == "a\nb\n"


# B7 to B9: what a text is known by


def test_B7_tokens_follow_the_text_even_at_the_same_length_and_time(small, text_file):
    config = small()
    before = text_file.stat()
    texts, digests, tokens = [], [], []
    for content in (text_file.read_text(), text_file.read_text().replace("be", "eb")):
        text_file.write_text(content)
        os.utime(text_file, ns=(before.st_atime_ns, before.st_mtime_ns))
        loaded = load_corpus(config.data, config.tokenizer, 8)
        train = loaded.splits.train
        texts.append(loaded.text == content)
        digests.append(corpus_digest(config.data) == hashlib.sha256(content.encode()).hexdigest())
        tokens.append(loaded.tokenizer.decode(train) == content[: len(train)])
    assert text_file.stat().st_size == before.st_size
    assert all(texts + digests + tokens)


def test_B7_reading_leaves_no_file_beside_the_text(small, text_file):
    config = small()
    folder = sorted(text_file.parent.rglob("*"))
    corpus_digest(config.data)
    load_corpus(config.data, config.tokenizer, 8)
    assert sorted(text_file.parent.rglob("*")) == folder


def test_B8_a_text_that_changes_while_a_run_starts_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("to be")
    digest = corpus_digest(settings(path))
    path.write_text("or not")
    assert "changed while the run was starting" in data_problem(
        lambda s: read_text(s, digest), settings(path)
    )


def test_B8_data_that_changed_is_a_new_run_and_both_digests_are_shown(
    small, text_file, tmp_path, caplog, quick
):
    config, outputs = small(), tmp_path / "outputs"
    first = run_experiment(config, outputs)
    before = corpus_digest(config.data)
    text_file.write_text(text_file.read_text() + "to be")
    logger = logging.getLogger("gptexp")
    logger.addHandler(caplog.handler)
    try:
        second = run_experiment(config, outputs)
    finally:
        logger.removeHandler(caplog.handler)
    assert (first.state, second.state) == ("done", "done")
    assert first.path != second.path
    shown = "".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert str(text_file) in shown
    assert before in shown
    assert corpus_digest(config.data) in shown
    assert first.path.name in shown


def test_B8_a_text_that_changed_under_a_stopped_run_does_not_go_on_with_it(
    small, text_file, tmp_path, caplog, monkeypatch
):
    config, outputs, whole = small(), tmp_path / "outputs", text_file.read_text()
    stop_before_step(config, outputs, 7)
    stopped = only_run(config, outputs)
    digests = [corpus_digest(config.data)]
    text_file.write_text(whole + "to be")
    digests.append(corpus_digest(config.data))
    monkeypatch.setattr(logging.getLogger("gptexp"), "propagate", True)
    assert run_experiment(config, outputs).path != stopped
    assert all(digest in caplog.text for digest in digests)
    text_file.write_text(whole)
    assert run_experiment(config, outputs).path == stopped
    assert "resume  at step 4" in (stopped / "run.log").read_text()


def test_B9_an_asset_with_another_digest_is_refused_and_not_cached(tmp_path, monkeypatch):
    class Response:
        """What a server answers with."""

        def __enter__(self) -> "Response":
            return self

        def __exit__(self, *_: object) -> None: ...

        def read(self) -> bytes:
            return b"not Shakespeare"

    monkeypatch.setenv("GPTEXP_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response())
    config = DataConfig(
        name="s",
        asset="tinyshakespeare",
        path=None,
        fraction=1.0,
        val_fraction=0.1,
        test_fraction=0.0,
    )
    line = data_problem(read_text, config)
    assert hashlib.sha256(b"not Shakespeare").hexdigest()[:12] in line
    assert not list(tmp_path.rglob("*.txt"))


def test_claim_1_the_digest_of_an_asset_is_known_without_reading_it(composed, monkeypatch):
    monkeypatch.setattr(assets, "read", None)
    assert corpus_digest(composed().data) == assets.known("tinyshakespeare").sha256


def test_a_data_folder_that_nobody_may_look_into_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(DataError, match="is not to be had"):
        find_corpus(settings(Path("gone.txt")), "0" * 64, tmp_path)
