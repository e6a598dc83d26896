"""B3, B5: any bytes are a text that is read and tokenized to itself, or refused in one line."""

import codecs
from pathlib import Path

import pytest
from document_lines import settings as documents
from fuzzing import assert_one_line_each, examples
from hypothesis import example, given
from hypothesis import strategies as st
from text_files import settings as text

from gptexp.config import ByteTokenizerConfig, CharTokenizerConfig, DataConfig
from gptexp.data.corpus import SPLITS
from gptexp.data.load import LoadedText, load_corpus, read_corpus
from gptexp.errors import DataError

BLOCK_SIZE = 2
TOKENIZERS = [CharTokenizerConfig(name="char"), ByteTokenizerConfig(name="byte")]
SHARES = {"val_fraction": 0.25, "test_fraction": 0.25}

MARKS = [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE]
ENDS = [
    "\n",
    "\r\n",
    "\r",
    "\v",
    "\f",
    "\x1c",
    "\x85",
    "\u2028",
    "\ufeff",
    "\0",
    " ",
    "\t",
    "\u3000",
]
ODD_BYTES = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe9", b"PK\x03\x04"]

TEXTS = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(ENDS)), max_size=12).map("".join)
ENCODED = st.builds(
    lambda text, encoding: text.encode(encoding, "replace"),
    TEXTS,
    st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "utf-32-be", "latin-1", "cp1252"]),
)
WITH_ODD = st.lists(
    st.one_of(ENCODED, st.sampled_from(ODD_BYTES), st.binary(max_size=4)), max_size=5
)
BYTES = st.builds(bytes.__add__, st.sampled_from(MARKS), st.one_of(ENCODED, WITH_ODD.map(b"".join)))


def expected(raw: bytes) -> str:
    """What Python itself makes of the bytes by the rule of the docs."""
    text = raw.decode().removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.slow
@example(b"")
@example(b"\xef\xbb\xbf\xef\xbb\xbfa\r\r\nb")
@example("e\u0301\r\n🙂\u2028b\x85c".encode())
@examples(120)
@given(BYTES)
def test_B3_B5_any_bytes_are_read_as_they_are_or_refused_in_one_line(tmp_path, raw):
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    for data in (text(path, **SHARES), documents(path, **SHARES)):
        try:
            read = read_corpus(data)
        except DataError as error:
            assert_one_line_each(error)
            continue
        assert "\0" not in read and "\r" not in read
        if not data.documents:
            assert read == expected(raw)
        else:
            lines = [line.strip() for line in expected(raw).split("\n")]
            assert read.split("\n")[1:-1] == [line for line in lines if line]
        for config in TOKENIZERS:
            assert_split_to_itself(data, config, read)


def assert_split_to_itself(data: DataConfig, config: object, read: str) -> None:
    """All splits together are the text; those of documents share the break between them."""
    try:
        loaded = load_corpus(data, config, BLOCK_SIZE)
    except DataError as error:
        assert_one_line_each(error)
        return
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(read)) == read
    joined = "".join(in_order(loaded))
    assert joined.replace("\n\n", "\n") == read.replace("\n\n", "\n")
    assert loaded.describe().startswith(str(data.path))


def in_order(loaded: LoadedText) -> list[str]:
    parts = dict(loaded.splits.items())
    assert set(parts) == set(SPLITS)
    return [loaded.tokenizer.decode(parts[name]) for name in ("train", "test", "val")]


def test_B5_the_oracle_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"a\r\nb" * 20)
    assert read_corpus(text(path)) == expected(path.read_bytes()) != path.read_bytes().decode()
