"""Texts that grow token by token."""

import pytest

from gptexp.inference.texts import GrowingText
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer


def told(text: str | bytes, *stop: str) -> tuple[list[str], bool]:
    """The pieces of bytes that come one by one, the rest last; and whether a stop ended them."""
    growing, pieces = GrowingText(ByteTokenizer(), stop), []
    for byte in text.encode() if isinstance(text, str) else text:
        pieces.append(growing.add(byte))
        if growing.is_stopped:
            return pieces, True
    return [*pieces, growing.rest()], False


def test_a_character_is_told_once_it_is_whole():
    assert told("aé€b") == (["a", "", "é", "", "", "€", "b", ""], False)


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xe2\x82", b"a\xe2\x82b", b"\xff\xff\xe2\x82\xac", b"\x80" * 9, b""]
)
def test_bytes_that_are_no_text_come_out_as_they_decode_at_once(data):
    assert "".join(told(data)[0]) == data.decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("to be or", ["b"], "to "),
        ("to be or", ["be o"], "to "),
        ("to be or", ["be x", "or"], "to be "),
        ("aaab", ["aab"], "a"),
        ("abab", ["abc", "bab"], "a"),
        ("to be", ["x"], None),
        ("to be", ["be or"], None),
        ("die Größe", ["ö"], "die Gr"),
        ("die Größe", ["ße"], "die Grö"),
        ("x", ["x"], ""),
    ],
)
def test_nothing_of_a_stop_string_is_told(text, stop, expected):
    pieces, stopped = told(text, *stop)
    assert stopped == (expected is not None)
    assert "".join(pieces) == (text if expected is None else expected)


def test_what_cannot_begin_a_stop_string_is_told_at_once():
    assert told("abxab", "abc")[0] == ["", "", "abx", "", "", "ab"]


def test_a_stop_string_within_a_token_cuts_it():
    class Words(CharTokenizer):
        def decode(self, ids):
            return "".join(["to ", "be. Or", "not"][int(i)] for i in ids)

    growing = GrowingText(Words("abc"), ["Or", "."])
    assert (growing.add(0), growing.add(1), growing.is_stopped) == ("to ", "be", True)


def test_a_tokenizer_that_looks_back_gives_the_text_that_it_gives_of_all_tokens():
    class Spaced(CharTokenizer):
        def decode(self, ids):
            return " ".join(self.characters[int(i)] for i in ids)

    growing = GrowingText(Spaced("abc"), [])
    assert [growing.add(token) for token in (0, 1, 2)] == ["a", " b", " c"]
