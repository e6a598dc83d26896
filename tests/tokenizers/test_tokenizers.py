"""Text to ids and back, exactly; tokenizers as plain values; characters that are not known."""

import json
import random
import unicodedata

import numpy as np
import pytest
from small_runs import ONE_LINE, problem_lines

from gptexp.config import ByteTokenizerConfig, CharTokenizerConfig
from gptexp.errors import CheckpointError, DataError
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import BytePairTokenizer
from gptexp.tokenizers.build import build_tokenizer, tokenizer_from_dict
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

BLOCKS = [
    (0x0000, 0x007F),  # ASCII with its control characters
    (0x00A0, 0x024F),  # two bytes each
    (0x0300, 0x036F),  # combining marks
    (0x0900, 0x0DFF),  # three bytes each
    (0x2000, 0x206F),  # joiners, direction marks
    (0xD7F0, 0xD7FF),  # right before the surrogates
    (0xE000, 0xE0FF),  # right after them, private use
    (0xFE00, 0xFEFF),  # variation selectors, the byte order mark
    (0xFFF0, 0xFFFF),  # specials, noncharacters
    (0x1F000, 0x1FAFF),  # astral: emoji
    (0x10FFF0, 0x10FFFF),  # the end of Unicode
]
CURATED = [
    "",
    "a",
    "\0",
    "\ufeff",
    "a\r\nb\rc\n",
    "é e\u0301 ñ n\u0303",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇳🇿",
    "\U0010ffff\ud7ff\ue000",
    "العربية עברית 漢字 \u202e",
]


def random_texts(count: int) -> list[str]:
    rng = random.Random(0)

    def character() -> str:
        first, last = rng.choice(BLOCKS)
        return chr(rng.randint(first, last))

    return ["".join(character() for _ in range(rng.randint(1, 80))) for _ in range(count)]


TEXTS = CURATED + random_texts(200)


BYTE_PAIRS = [BytePairTokenizer(name, "Ġ t\nh e\nĠt he\nÃ ©\nĊ Ċ") for name in ("bpe", "gpt2")]


def each(text: str) -> list[Tokenizer]:
    return [CharTokenizer.of(text), ByteTokenizer(), *BYTE_PAIRS]


def test_the_random_texts_hold_astral_and_combining_characters():
    drawn = set("".join(random_texts(200)))
    assert any(ord(c) > 0xFFFF for c in drawn)
    assert any(unicodedata.combining(c) for c in drawn)


@pytest.mark.parametrize("text", CURATED)
def test_decode_of_encode_is_the_text(text):
    for tokenizer in each(text):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decode_of_encode_is_the_text_for_any_unicode():
    for text in TEXTS:
        for tokenizer in each(text):
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert tokenizer.decode(ids.tolist()) == text


def test_ids_are_int64_below_the_vocabulary_size():
    for text in TEXTS[1:]:
        for tokenizer in each(text):
            ids = tokenizer.encode(text)
            assert ids.dtype == np.int64
            assert ids.ndim == 1
            assert ids.min() >= 0
            assert ids.max() < tokenizer.vocab_size


@pytest.mark.slow
def test_a_tokenizer_survives_its_trip_through_json():
    for text in TEXTS:
        for tokenizer in each(text):
            copy = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
            assert type(copy) is type(tokenizer)
            assert copy.vocab_size == tokenizer.vocab_size
            assert copy.to_dict() == tokenizer.to_dict()
            assert np.array_equal(copy.encode(text), tokenizer.encode(text))
            assert copy.describe() == tokenizer.describe()


def test_byte_lengths_sum_to_the_length_of_the_utf_8_form():
    for text in TEXTS:
        for tokenizer in each(text):
            lengths = tokenizer.byte_lengths()
            assert lengths.shape == (tokenizer.vocab_size,)
            assert lengths[tokenizer.encode(text)].sum() == len(text.encode())


def test_the_character_vocabulary_is_the_distinct_characters_in_the_order_of_code_points():
    tokenizer = CharTokenizer.of("hello\n🙂 wörld")
    assert tokenizer.characters == "\n dehlorwö🙂"
    assert tokenizer.encode("\n dehlorwö🙂").tolist() == list(range(11))
    assert tokenizer.describe() == "11 characters"


def test_the_order_of_the_text_does_not_change_the_vocabulary():
    assert CharTokenizer.of("abc").to_dict() == CharTokenizer.of("cabbac").to_dict()


def test_characters_that_look_the_same_stay_different():
    composed, combining = "é", "e\u0301"
    tokenizer = CharTokenizer.of(composed + combining)
    assert tokenizer.vocab_size == 3
    assert tokenizer.decode(tokenizer.encode(combining)) == combining != composed


def test_bytes_are_the_utf_8_form():
    assert ByteTokenizer().encode("aé🙂").tolist() == list("aé🙂".encode())
    assert ByteTokenizer().vocab_size == 256


def test_bytes_that_are_no_text_are_shown_as_such_and_do_not_raise():
    assert ByteTokenizer().decode([0x61, 0xFF, 0x62, 0xE2, 0x82]) == "a\ufffdb\ufffd"


@pytest.mark.parametrize("unknown", ["\0", "a", "n", "z", "é", "🙂", "\U0010ffff"])
def test_an_unknown_character_is_named_wherever_it_falls_in_the_vocabulary(unknown):
    tokenizer = CharTokenizer.of("bcdmopy")
    for text in (unknown, f"bcd{unknown}", f"{unknown}mop", f"y{unknown}y"):
        with pytest.raises(DataError) as caught:
            tokenizer.encode(text)
        (line,) = problem_lines(caught.value)
        assert f"{unknown!r} (U+{ord(unknown):04X})" in line
        assert "Fix: " in line
        assert "\n" not in line


def test_B6_a_prompt_with_characters_unseen_in_training_names_them_and_their_code_points():
    with pytest.raises(DataError) as caught:
        CharTokenizer.of("to be").encode("to bé 🙂")
    (line,) = problem_lines(caught.value)
    assert ONE_LINE.fullmatch(line)
    assert "'é' (U+00E9)" in line
    assert "'🙂' (U+1F642)" in line


def test_unknown_characters_are_each_named_once_and_known_ones_not():
    with pytest.raises(DataError) as caught:
        CharTokenizer.of("ab").encode("xaxbyy")
    line = str(caught.value)
    assert line.count("U+") == 2
    assert "'x' (U+0078), 'y' (U+0079)" in line


def test_of_many_unknown_characters_a_few_are_named_and_the_rest_counted():
    with pytest.raises(DataError, match=r"U\+0069\) and 15 more") as caught:
        CharTokenizer.of("a").encode("abcdefghijklmnopqrstuvwx")
    assert str(caught.value).count("U+") == 8


@pytest.mark.parametrize("text", ["\udcff", "ab\ud83d"])
def test_a_lone_surrogate_as_the_shell_passes_on_a_byte_that_is_no_text_is_refused(text):
    for tokenizer in each("ab"):
        with pytest.raises(DataError) as caught:
            tokenizer.encode(text)
        str(caught.value).encode()  # the message itself can be printed


def test_build_dispatches_on_the_section():
    chars = build_tokenizer(CharTokenizerConfig(name="char"), "aab", "ba", "aa")
    assert isinstance(chars, CharTokenizer)
    assert chars.characters == "ba"  # in the order that the format gives
    of_bytes = build_tokenizer(ByteTokenizerConfig(name="byte"), "ab", "ab", "")
    assert isinstance(of_bytes, ByteTokenizer)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"name": "bpe"},
        {"name": "char"},
        {"name": "char", "characters": ["a"]},
        {"name": "char", "characters": "a\ud800"},
        {"name": "char", "characters": "aba"},
        {"name": "ids", "vocab_size": True},
    ],
)
def test_a_stored_tokenizer_that_is_not_known_is_refused(state):
    with pytest.raises(CheckpointError, match=r"^tokenizer: .+ Fix: "):
        tokenizer_from_dict(state)
