"""A text cut into splits: where, how long they must be, and what the data line says of them."""

import itertools

import numpy as np
import pytest
from text_files import data_problem, data_problems, settings

from gptexp.data.corpus import Splits
from gptexp.data.load import bigrams, load_corpus, split_corpus
from gptexp.data.text import Text
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer


def cut(
    text: str, tokenizer: Tokenizer | None = None, block_size: int = 1, **changes: float
) -> Splits:
    return Text(settings(**changes)).split(text, tokenizer or ByteTokenizer(), block_size)


def numbered(n: int) -> str:
    """A text in which every character says where it stands."""
    return "".join(chr(0x4E00 + i) for i in range(n))


# Where


def test_the_boundary_is_nanogpt_s_at_every_length():
    for n in range(20, 1200):
        splits = cut("a" * n)
        assert len(splits.train) == int(0.9 * n)
        assert len(splits.train) + len(splits.val) == n
        assert len(splits.test) == 0
    for n in (1_115_394, 999_999, 1_000_001):
        assert cut("a" * n).bounds == {
            "train": (0, int(0.9 * n)),
            "test": (int(0.9 * n), int(0.9 * n)),
            "val": (int(0.9 * n), n),
        }


def test_the_test_part_is_cut_from_the_end_of_the_training_part():
    text = numbered(1000)
    tokenizer = CharTokenizer.of(text)
    without, splits = cut(text, tokenizer), cut(text, tokenizer, test_fraction=0.2)
    assert np.array_equal(splits.val, without.val)
    parts = [splits.train, splits.test, splits.val]
    assert tokenizer.decode(np.concatenate(parts)) == text
    assert [len(part) for part in parts] == [700, 200, 100]


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_fractions_are_nested_and_leave_validation_and_test_alone(kind):
    text = numbered(900) + "plain ascii " * 20
    tokenizer = CharTokenizer.of(text) if kind == "char" else ByteTokenizer()
    whole = cut(text, tokenizer, test_fraction=0.1)
    for fraction in (0.01, 0.1, 1 / 3, 0.5, 0.999):
        part = cut(text, tokenizer, test_fraction=0.1, fraction=fraction)
        assert len(part.train) == int(fraction * len(whole.train))
        assert np.array_equal(part.train, whole.train[: len(part.train)])
        assert np.array_equal(part.val, whole.val)
        assert np.array_equal(part.test, whole.test)
        assert part.bounds == whole.bounds


def test_bounds_are_where_the_splits_stand_in_the_text():
    text = "añ🙂" * 100
    splits = cut(text, test_fraction=0.2)
    for name, ids in splits.items():
        start, end = splits.bounds[name]
        assert ByteTokenizer().decode(ids) == text[start:end]
    assert list(splits.bounds) == ["train", "test", "val"]


def test_B6_the_vocabulary_is_that_of_the_whole_text_so_validation_is_never_unknown(
    composed, tmp_path
):
    text = "ab" * 50 + "xyz" * 5
    (tmp_path / "text.txt").write_text(text)
    data = settings(tmp_path / "text.txt", fraction=0.1)
    loaded = load_corpus(data, composed().tokenizer, 4)
    assert loaded.tokenizer.decode(loaded.splits.val) == text[103:]


# B4: lengths


@pytest.mark.parametrize(
    ("characters", "block_size", "expected"),
    [
        (100, 9, {}),
        (100, 10, {"val": 10}),
        (100, 89, {"val": 10}),
        (100, 90, {"train": 90, "val": 10}),
        (100, 5000, {"train": 90, "val": 10}),
    ],
)
def test_B4_a_split_shorter_than_block_size_and_one_names_itself_and_the_largest_that_fits(
    characters, block_size, expected
):
    text = "ab" * (characters // 2)
    if not expected:
        cut(text, block_size=block_size)
        return
    lines = data_problems(lambda: cut(text, block_size=block_size))
    for line, (name, length) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"model.block_size: {block_size} needs {block_size + 1} tokens")
        assert f"{name} has {length}, of " in line
        assert "model.block_size=9 at most" in line


@pytest.mark.parametrize(
    ("text", "changes", "name"),
    [
        ("ab" * 500, {"val_fraction": 1e-9}, "val"),
        ("ab" * 500, {"val_fraction": 1e-3}, "val"),
        ("ab" * 500, {"fraction": 1e-9}, "train"),
        ("ab" * 500, {"test_fraction": 1e-9}, "test"),
        ("ab" * 500, {"val_fraction": 0.5, "test_fraction": 0.4999}, "train"),
    ],
)
def test_B4_an_empty_split_is_named_and_no_block_size_is_advised(text, changes, name):
    line = data_problem(lambda: cut(text, block_size=8, **changes))
    assert f"{name} has " in line
    assert "model.block_size=" not in line
    assert "longer text" in line


def test_B4_a_text_of_one_character():
    data_problems(cut, "a")


def test_B4_a_split_that_is_not_needed_may_be_short():
    text = Text(settings(test_fraction=0.1))
    [line] = data_problems(text.split, "ab" * 50, ByteTokenizer(), 20, ("train", "val"))
    assert "val has 10, of " in line
    splits = text.split("ab" * 50, ByteTokenizer(), 20, ("train",))
    assert (len(splits.train), len(splits.val)) == (80, 0)


# The data line


def test_the_data_line_counts_what_there_is():
    text = "abab" * 100
    data = settings("x.txt", test_fraction=0.1)
    assert split_corpus(data, text, CharTokenizer.of(text), 1).describe() == (
        "x.txt: 400 characters, 400 tokens of 2 characters; 320 train, 40 test, 40 val; "
        "2 of 4 bigrams occur"
    )


def test_bigrams_counts_different_pairs():
    assert bigrams(np.array([0, 1, 0, 1, 1]), 2) == 3
    assert bigrams(np.array([2, 2, 2]), 3) == 1


def test_claim_1_tiny_shakespeare_has_65_characters_and_returns_exactly(shakespeare, composed):
    config = composed()
    loaded = load_corpus(config.data, config.tokenizer, 256)
    tokenizer, splits = loaded.tokenizer, loaded.splits
    assert loaded.text == shakespeare
    assert len(shakespeare) == 1_115_394
    assert tokenizer.vocab_size == 65
    assert tokenizer.vocab_size**2 == 4225
    assert tokenizer.decode(tokenizer.encode(shakespeare)) == shakespeare
    assert (len(splits.train), len(splits.val)) == (1_003_854, 111_540)
    occurring = len(set(itertools.pairwise(shakespeare)))
    assert bigrams(tokenizer.encode(shakespeare), 65) == occurring
    line = loaded.describe()
    assert f"{occurring:,} of 4,225 bigrams occur" in line
    assert "65 characters" in line
