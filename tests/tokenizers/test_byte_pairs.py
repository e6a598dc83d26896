"""Byte pairs: learned from the training part alone, the same everywhere, exact for any text."""

import hashlib
import logging
import random
import re
import sys
from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from document_lines import file_of
from document_lines import settings as documents
from fuzzing import examples
from hypothesis import example, given
from hypothesis import strategies as st
from small_runs import ONE_LINE, cached, problem_lines

from gptexp import assets
from gptexp.config import (
    BPETokenizerConfig,
    DataConfig,
    GPT2TokenizerConfig,
    from_overrides,
    problems,
)
from gptexp.data.corpus import compact
from gptexp.data.load import bigrams, load_corpus
from gptexp.errors import CheckpointError, ConfigError, DataError
from gptexp.tokenizers import bpe, merges
from gptexp.tokenizers.bpe import BytePairTokenizer, pieces
from gptexp.tokenizers.build import tokenizer_from_dict, vocabulary_difference

pytestmark = pytest.mark.usefixtures("own_cache")


def drawn() -> str:
    """Some thousand characters in words of a few syllables, with marks between them."""
    rng = random.Random(0)
    syllables = [a + b for a in "bcdfghlmnrstw" for b in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(200)]
    return "".join(rng.choice(words) + rng.choice([" ", " ", ", ", ".\n\n"]) for _ in range(1500))


TEXT = drawn()
MADE_UP = "Ġ t\nh e\nĠt he\nĊ Ċ\nt h\n< |\ne n"  # with GPT-2's last token: 264 tokens


def learned(vocab_size: int = 300, text: str = TEXT) -> BytePairTokenizer:
    return BytePairTokenizer("bpe", merges.learned(text, vocab_size))


@cache
def both() -> list[BytePairTokenizer]:
    """Without the cache of any user."""
    return [
        BytePairTokenizer("bpe", merges.learn(pieces(TEXT), 300)),
        BytePairTokenizer("gpt2", MADE_UP),
    ]


def settings(path: object, **changes: float) -> DataConfig:
    known = {"fraction": 1.0, "val_fraction": 0.25, "test_fraction": 0.0}
    return DataConfig(name="text", asset=None, path=str(path), **{**known, **changes})


def of_size(vocab_size: int) -> BPETokenizerConfig:
    return BPETokenizerConfig(name="bpe", vocab_size=vocab_size)


# What a text becomes


@examples(60)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("\n\r\t the'|<>é\u00a0\u3000"))
def test_any_text_comes_back_exactly_and_its_tokens_have_its_bytes(text):
    for tokenizer in both():
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())


def test_no_space_is_put_before_a_text_and_its_marks_are_letters():
    made_up = BytePairTokenizer("gpt2", MADE_UP)
    assert made_up.vocab_size == 264
    assert made_up.encode("the").tolist() == [*made_up.encode("t"), 257]
    assert made_up.encode(" the").tolist() == [258]
    assert len(made_up.encode(bpe.END_OF_TEXT)) == 11  # by its letters, of which two are merged
    assert made_up.decode([263]) == bpe.END_OF_TEXT
    assert made_up.decode([0, 255, 94]) == "!\ufffd\ufffd"  # bytes that are no text


@examples(60)
@given(st.text("ab \n\t'.\u00a0é", max_size=60))
@example("aa\n\n\n\nb")
def test_a_text_in_pieces_has_the_tokens_of_the_whole(text):
    for tokenizer in both():
        whole = tokenizer._model.encode(text).ids
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bpe, "PIECE", 3)
            assert "".join(pieces(text)) == text
            assert tokenizer.encode(text).tolist() == whole


def test_half_a_character_is_refused_in_a_line():
    with pytest.raises(DataError) as caught:
        learned().encode("ab\ud800")
    assert problem_lines(caught.value) == [
        "text: has no UTF-8 form at character 2. Fix: type it again"
    ]


# What is learned


def plainly(text: str, vocab_size: int) -> list[tuple[int, int]]:
    """The merges of a text of ASCII, by counting all pairs of all words anew for each."""
    order = [ord(sign) for sign in (chr(byte) for byte in bpe.byte_signs().values())]
    ids = {byte: number for number, byte in enumerate(order)}
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?[a-zA-Z]+| ?[0-9]+| ?[^\sa-zA-Z0-9]+|\s+(?!\S)|\s+"
    words = Counter(tuple(ids[b] for b in word.encode()) for word in re.findall(pattern, text))
    found: list[tuple[int, int]] = []
    while 256 + len(found) < vocab_size:
        counts: Counter[tuple[int, int]] = Counter()
        for word, times in words.items():
            for two in pairwise(word):
                counts[two] += times
        best, times = min(counts.items(), key=lambda item: (-item[1], item[0]))
        if times < merges.SEEN:
            break
        found.append(best)
        words = Counter({_merged(w, best, 255 + len(found)): n for w, n in words.items()})
    return found


def _merged(word: tuple[int, ...], pair: tuple[int, int], new: int) -> tuple[int, ...]:
    out: list[int] = []
    for token in word:
        if out and (out[-1], token) == pair:
            out[-1] = new
        else:
            out.append(token)
    return tuple(out)


def test_the_merges_are_those_of_counting_pairs_plainly():
    tokenizer = learned(320)
    ids = {token: number for number, token in enumerate(tokenizer._bytes)}
    signs = bpe.byte_signs()
    found = [
        tuple(ids[bytes(signs[sign] for sign in part)] for part in line.split(" "))
        for line in tokenizer.merges.splitlines()
    ]
    assert found == plainly(TEXT, 320)


def test_the_merges_are_the_same_on_every_machine_and_thread_count(monkeypatch):
    """The digest was taken once: a library that learns others would split runs from their hash."""
    for parallel in ("false", "true"):
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallel)
        found = merges.learn(pieces(TEXT), 320)
        assert hashlib.sha256(found.encode()).hexdigest() == LEARNED


LEARNED = "a0e0cb1cc41fb566444dc0cb2c536f676c6d655951fb252776bb920601419461"


def test_only_the_training_part_is_learned_from_at_every_fraction(tmp_path):
    half = tmp_path / "half.txt"
    training = "ab ab cd ef gh ij kl " * 60  # of which ab is the most frequent pair, of all xy
    half.write_text(training + "xy" * 210)
    whole = load_corpus(settings(half), of_size(257), 8).tokenizer
    assert whole._bytes[256:] == [b"ab"]
    less = load_corpus(settings(half, fraction=0.1), of_size(257), 8)
    assert less.tokenizer.to_dict() == whole.to_dict()
    tested = load_corpus(settings(half, test_fraction=0.7), of_size(257), 8).tokenizer
    half.write_text(training + "qr" * 210)
    again = load_corpus(settings(half), of_size(257), 8).tokenizer
    assert again.to_dict() == whole.to_dict()
    assert tested._bytes[256:] == [b"ab"]


def test_documents_are_learned_from_by_their_training_part_and_keep_their_bounds(tmp_path):
    lines = [f"{a}n{b}ab" for a in "abcdefgh" for b in "uvwxyz"]
    path = file_of(lines, tmp_path)
    loaded = load_corpus(documents(path, val_fraction=0.25), of_size(258), 16)
    tokenizer, reading = loaded.tokenizer, loaded.format
    assert b"ab" in tokenizer._bytes[256:]
    end = reading.end(tokenizer)
    assert tokenizer.decode([end]) == "\n"
    assert np.count_nonzero(loaded.splits.train == end) == 37
    assert not any(len(t) > 1 and b"\n" in t for t in tokenizer._bytes[256:])
    spaced = BytePairTokenizer("bpe", "Ċ Ġ")  # joins a line break with what is typed after it
    assert reading.prompt("  a", spaced).tolist() == [*spaced.encode("\n"), *spaced.encode("  a")]


def test_a_vocabulary_that_the_text_cannot_give_is_a_line_with_the_size_that_it_can():
    with pytest.raises(ConfigError) as caught:
        learned(5000)
    [line] = problem_lines(caught.value)
    made = int(re.search(r"has pairs for (\d+) tokens\. Fix: tokenizer.vocab_size=\1,", line)[1])
    assert learned(made).vocab_size == made
    with pytest.raises(ConfigError, match="pairs for 256 tokens"):
        merges.learned("abc", 10**12)
    assert learned(256, "abc").encode("abc").tolist() == [64, 65, 66]


def test_a_vocabulary_without_room_for_the_bytes_is_a_line():
    config = from_overrides(["tokenizer=bpe", "tokenizer.vocab_size=255"])
    [problem] = problems(config)
    assert str(problem) == (
        "tokenizer.vocab_size: 255 has no room for the 256 bytes. "
        "Fix: tokenizer.vocab_size=256 or more"
    )


# The cache


@pytest.fixture
def lessons(monkeypatch):
    """The vocabulary sizes that were learned, not read."""
    asked, learn = [], merges.learn

    def noted(parts, size):
        asked.append(size)
        return learn(parts, size)

    monkeypatch.setattr(merges, "learn", noted)
    return asked


def only_cached():
    [file] = (merges.user_cache() / "bpe").glob("*.txt")
    return file


def test_what_was_learned_is_read_the_next_time(lessons):
    first = merges.learned(TEXT, 280)
    assert merges.learned(TEXT, 280) == first
    assert lessons == [280]
    assert merges.learned(TEXT + "z", 280) == first
    assert merges.learned(TEXT, 281) != first
    assert lessons == [280, 280, 281]


@pytest.mark.parametrize("content", [b"", b"abc\n\xff", b"Q", "d" * 64 + "\nĠ t"], ids=repr)
def test_a_damaged_file_of_the_cache_is_learned_anew_and_said(lessons, caplog, content):
    first = merges.learned(TEXT, 280)
    file, whole = only_cached(), only_cached().read_bytes()
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with caplog.at_level(logging.WARNING, "gptexp"):
        assert merges.learned(TEXT, 280) == first
    assert lessons == [280, 280]
    assert "learned anew" in caplog.text
    assert only_cached().read_bytes() == whole


def test_a_folder_or_a_pipe_in_its_place_costs_nothing_but_time(lessons, caplog):
    first = merges.learned(TEXT, 280)
    file = only_cached()
    file.unlink()
    file.mkdir()
    assert merges.learned(TEXT, 280) == first
    assert lessons == [280, 280]


def test_without_a_place_for_the_cache_it_is_learned_each_time(lessons, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    first = merges.learned(TEXT, 280)
    monkeypatch.setattr(merges, "_cache", lambda key: None)
    assert merges.learned(TEXT, 280) == first
    assert lessons == [280, 280]


def test_another_process_that_was_faster_changes_nothing(monkeypatch):
    learn, first = merges.learn, []

    def slower(parts, size):
        monkeypatch.setattr(merges, "learn", learn)
        first.append(merges.learned(TEXT, size))
        return learn(parts, size)

    monkeypatch.setattr(merges, "learn", slower)
    assert merges.learned(TEXT, 280) == first[0]
    assert only_cached().read_text().endswith(first[0])


# In a checkpoint


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("Ġ t\nx yz", "merge 2, 'x yz',"),
        ("Ġ", "merge 1, 'Ġ',"),
        ("a b c", "merge 1, 'a b c',"),
        ("a  b", "merge 1, 'a  b',"),
        ("\x1b[2J a", "merge 1, '\\x1b[2J a',"),
        ("a b\n\nc d", "merge 2, '',"),
    ],
)
def test_merges_that_do_not_fit_are_refused_in_a_line(lines, named):
    with pytest.raises(CheckpointError) as caught:
        tokenizer_from_dict({"name": "bpe", "merges": lines})
    [line] = problem_lines(caught.value)
    assert ONE_LINE.fullmatch(line)
    assert f"bpe: {named} joins no two tokens before it" in line


@pytest.mark.parametrize("state", [{"name": "bpe"}, {"name": "gpt2", "merges": ["a b"]}])
def test_a_state_without_merges_is_refused(state):
    with pytest.raises(CheckpointError, match=f"{state['name']} without the text that tells its"):
        tokenizer_from_dict(state)


def test_the_difference_of_two_vocabularies_says_where_they_part():
    ours = learned(300)
    assert vocabulary_difference(ours, learned(300)) == ""
    assert vocabulary_difference(learned(280), ours) == (
        "checkpoint 280 byte pairs, config 300 byte pairs"
    )
    other = learned(300, TEXT.replace("ha", "zz"))
    assert re.fullmatch(
        r"checkpoint 300 byte pairs, config 300 byte pairs, other ones after the first \d+",
        vocabulary_difference(other, ours),
    )


# Without what it needs


def test_without_the_library_the_line_has_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    state = {"name": "gpt2", "merges": MADE_UP}
    for make in (learned, lambda: tokenizer_from_dict(state)):
        with pytest.raises(DataError) as caught:
            make()
        assert problem_lines(caught.value) == [
            "tokenizer: byte pairs need Hugging Face tokenizers, which is not installed. "
            "Fix: pip install -e '.[bpe]'"
        ]


def test_without_the_merges_of_gpt2_the_line_says_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError) as caught:
        merges.published()
    [line] = problem_lines(caught.value)
    assert line.startswith(f"tokenizer: gpt2 was not found in the cache, {tmp_path}/gpt2-vocab.bpe")
    put = f"put {merges.GPT2.url}, SHA-256 {merges.GPT2.sha256}, at {tmp_path}/gpt2-vocab.bpe"
    assert line.endswith(f"Fix: {put}")


# GPT-2's own


@pytest.fixture
def gpt2():
    if not (assets.cache_folder() / merges.GPT2.filename).exists():
        pytest.skip("GPT-2's merges are not in the cache: python run.py tokenizer=gpt2 brings them")
    return BytePairTokenizer("gpt2", merges.published())


def test_gpt2_has_the_tokens_that_its_users_know(gpt2):
    assert gpt2.vocab_size == 50_257
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("a\n\nb  c ").tolist() == [64, 198, 198, 65, 220, 269, 220]
    assert gpt2.decode([50_256]) == bpe.END_OF_TEXT


@pytest.mark.slow
def test_gpt2_cuts_tiny_shakespeare_as_nanogpt_says(gpt2):
    cached("tinyshakespeare", "python run.py")
    data = from_overrides([]).data
    loaded = load_corpus(data, GPT2TokenizerConfig(name="gpt2"), 64)
    assert (len(loaded.splits.train), len(loaded.splits.val)) == (301_966, 36_059)
    assert loaded.splits.train.dtype == np.int32
    assert "338,025 tokens of 50,257 byte pairs of GPT-2" in loaded.describe()


def test_ids_of_a_large_vocabulary_are_kept_and_counted_whole():
    ids = np.array([0, 32_767, 32_768, 50_256, 0, 32_767])
    kept = compact(ids, 50_257)
    assert kept.dtype == np.int32
    assert kept.tolist() == ids.tolist()
    assert bigrams(ids, 50_257) == 4
