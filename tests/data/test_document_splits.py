"""A file as documents, one a line: which lines they are, their splits, and the data line."""

import itertools

import pytest
from document_lines import file_of, numbered, settings, split_lines, tokenized
from text_files import data_problem
from text_files import settings as text_settings

from gptexp.config import ByteTokenizerConfig, CharTokenizerConfig
from gptexp.data.characters import characters as characters_of_text
from gptexp.data.documents import Documents
from gptexp.data.load import load_corpus, read_corpus, split_corpus
from gptexp.tokenizers.build import build_tokenizer
from gptexp.tokenizers.byte import ByteTokenizer

LINES = numbered(30)  # 27 to train on and 3 for validation, where nothing else is said


# The file


@pytest.fixture
def read(tmp_path):
    """`read(b"...")`: the documents of a file with these bytes, in its order."""

    def call(raw, shuffle=False):
        path = tmp_path / "corpus.txt"
        path.write_bytes(raw)
        text = read_corpus(settings(path, shuffle=shuffle))
        assert text[0] == text[-1] == "\n"
        return text[1:-1].split("\n")

    return call


@pytest.mark.parametrize(
    "raw",
    [
        b"anna\nbob",
        b"anna\nbob\n",
        b"\xef\xbb\xbfanna\r\nbob\r\n",
        b"anna\rbob\r",
        b"\n\nanna\n\n\nbob\n\n",
        b"  anna\t\n   \n\t\nbob \n",
        "anna\n\x85\u2003\n\u3000bob\u00a0".encode(),
    ],
    ids=["plain", "line end", "mark and CRLF", "CR", "blank lines", "white space", "unicode's"],
)
def test_B5_blank_lines_line_ends_and_white_space_around_a_document_are_no_part_of_it(read, raw):
    assert read(raw) == ["anna", "bob"]


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e", " ", "\t"])
def test_only_a_line_break_ends_a_document(read, inside):
    assert read(f"an{inside}na\nbob\n".encode()) == [f"an{inside}na", "bob"]


@pytest.mark.parametrize("raw", [b"anna", b"\n anna \n\n", b"anna\n  \n\t\n"])
def test_B4_one_document_is_refused(tmp_path, raw):
    path = tmp_path / "corpus.txt"
    path.write_bytes(raw)
    line = data_problem(load_corpus, settings(path), CharTokenizerConfig(name="char"), 8)
    assert line.startswith(f"{path}: holds one document")


@pytest.mark.parametrize("raw", [b"", b"\n\n", b" \n\t\r\n"])
def test_B2_a_file_without_any_document_is_refused(read, raw):
    line = data_problem(read, raw)
    assert "holds no text" in line


def test_a_text_as_text_keeps_its_white_space(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b" anna\n\nbob ")
    assert read_corpus(text_settings(path)) == " anna\n\nbob "


def test_the_shuffle_is_the_same_for_every_seed_and_not_the_file_s_order(composed, tmp_path):
    path = file_of(LINES, tmp_path)
    given = ["data=documents", f"data.path={path}", "model=micro"]
    configs = [composed(*given, f"seed={seed}") for seed in (0, 1, 2)]
    texts = [load_corpus(config.data, config.tokenizer, 8).text for config in configs]
    assert len(set(texts)) == 1
    lines = texts[0][1:-1].split("\n")
    assert lines != LINES
    assert sorted(lines) == LINES
    # Golden: the documents that runs are judged on never change.
    assert [line[:2] for line in lines[:6]] == ["06", "15", "29", "01", "04", "25"]


def test_without_shuffle_the_file_s_order_stays(read):
    assert read("\n".join(LINES).encode()) == LINES
    assert read("\n".join(LINES).encode(), shuffle=True) != LINES


def test_the_boundary_is_the_vocabulary_s_last_character():
    text, _ = tokenized(["ba", "a\tb", "é", " b a"])
    documents = Documents(settings())
    characters = characters_of_text(documents.cfg, text)
    made = build_tokenizer(CharTokenizerConfig(name="char"), text, characters, text)
    assert made.characters == characters == "\t abé\n"
    assert documents.end(made) == made.vocab_size - 1
    of_bytes = build_tokenizer(ByteTokenizerConfig(name="byte"), text, characters, text)
    assert documents.end(of_bytes) == 10


# Splits


def lines_of(ids, tokenizer):
    """The documents of a split, which begins and ends with a boundary."""
    if not len(ids):
        return []
    text = tokenizer.decode(ids)
    assert text[0] == text[-1] == "\n"
    return text[1:-1].split("\n")


def cut(lines, tokenizer=None, **changes):
    splits, tokenizer = split_lines(lines, tokenizer, **changes)
    return [lines_of(ids, tokenizer) for _, ids in splits.items()], splits


@pytest.mark.parametrize("tokenizer", [None, ByteTokenizer()], ids=["char", "byte"])
@pytest.mark.parametrize("test_fraction", [0.0, 0.2])
def test_splits_are_whole_documents_each_in_one_of_them(tokenizer, test_fraction):
    parts, splits = cut(LINES, tokenizer, test_fraction=test_fraction)
    assert list(itertools.chain(*parts)) == LINES
    assert [len(part) for part in parts] == ([21, 6, 3] if test_fraction else [27, 0, 3])
    for part, (start, end) in zip(parts, splits.bounds.values(), strict=True):
        assert part == LINES[start:end]
    assert list(splits.bounds) == ["train", "test", "val"]


def test_fractions_are_nested_and_leave_test_and_validation_alone():
    (train, test, val), whole = cut(LINES, test_fraction=0.2)
    sizes = []
    for fraction in (0.05, 0.3, 0.5, 0.999):
        part, splits = cut(LINES, test_fraction=0.2, fraction=fraction)
        assert part == [train[: int(fraction * len(train))], test, val]
        assert splits.bounds == whole.bounds
        sizes.append(len(part[0]))
    assert sizes == [1, 6, 10, 20]


@pytest.mark.parametrize(
    ("count", "changes", "key", "split"),
    [
        (30, {"fraction": 0.03}, "fraction", "train"),
        (9, {"test_fraction": 0.01}, "test_fraction", "test"),
        (30, {"val_fraction": 0.99}, "val_fraction", "train"),
        (30, {"val_fraction": 0.1, "test_fraction": 0.89}, "test_fraction", "train"),
    ],
)
def test_B4_a_split_without_a_document_names_the_key_that_can_give_it_one(
    count, changes, key, split
):
    line = data_problem(lambda: cut(numbered(count), **changes))
    way = "smaller" if (split, key) != ("train", "fraction") and split == "train" else "larger"
    assert line.startswith(f"data.{key}: {changes[key]} leaves no document for {split}, of {count}")
    assert f"Fix: a {way} data.{key}, or" in line


@pytest.mark.parametrize("tenths", range(1, 10))
def test_shares_count_as_they_were_typed(tenths):
    """1 - 0.9 is a little less than 0.1 in binary fractions, and 1 - 0.3 - 0.2 less than 0.5."""
    (train, _, val), _ = cut(numbered(10), val_fraction=tenths / 10)
    assert (len(train), len(val)) == (10 - tenths, tenths)
    for test_tenths in range(1, 10 - tenths):
        shares = {"val_fraction": tenths / 10, "test_fraction": test_tenths / 10}
        parts, _ = cut(numbered(10), **shares)
        assert [*map(len, parts)] == [10 - tenths - test_tenths, test_tenths, tenths]
    (train, _, _), _ = cut(numbered(20), val_fraction=0.5, fraction=tenths / 10)
    assert len(train) == tenths


def test_B4_two_documents_are_enough():
    for val_fraction in (1e-17, 0.1, 0.5):
        (train, test, val), _ = cut(["a", "b"], val_fraction=val_fraction)
        assert (train, test, val) == (["a"], [], ["b"])


def test_the_data_line_says_counts_repeats_and_what_is_cut():
    lines = ["ann", "bo", "ann", "elizabeth", "bo", "eve", "ann", "isabelle", "bo", "eve"]
    text, tokenizer = tokenized(lines)

    def line(block_size, **changes):
        data = settings("x.txt", val_fraction=0.3, test_fraction=0.2, **changes)
        return split_corpus(data, text, tokenizer, block_size).describe()

    pairs = len(set(itertools.pairwise(text)))
    assert line(8) == (  # 10 lines, 5 different; train ann bo ann elizabeth bo, val isabelle bo eve
        f"x.txt: {len(text)} characters, {len(text)} tokens of 13 characters; 10 documents "
        "(5 repeat another); 5 train, 2 test, 3 val, 1 of them in train too; "
        f"2 longer than block_size are cut there; {pairs} of 169 bigrams occur"
    )
    assert "; 1 train, 2 test, 3 val, 0 of them in train too; " in line(10, fraction=0.2)
    assert "cut there" not in line(10, fraction=0.2)  # with its end, elizabeth has ten targets
    assert "; 1 longer than" in line(9, fraction=0.2)


# The real names


def test_claim_8_the_names_are_32033_of_27_tokens(names, composed):
    config = composed("experiment=microgpt")
    found = load_corpus(config.data, config.tokenizer, config.model.block_size)
    assert sorted(found.text[1:-1].split("\n")) == sorted(names.split())
    assert found.tokenizer.to_dict()["characters"] == "abcdefghijklmnopqrstuvwxyz\n"
    assert found.splits.bounds["val"] == (28_829, 32_033)
    line = found.describe()
    assert line.startswith("names: 228,147 characters, 228,147 tokens of 27 characters; ")
    assert "32,033 documents (2,539 repeat another); 28,829 train, 3,204 val, 473 of them " in line
    assert "cut there" not in line  # the longest has 15 letters, and its end
    assert len(set(itertools.pairwise("\n" + "\n".join(names.split()) + "\n"))) == 627
    assert line.endswith("; 627 of 729 bigrams occur")
    assert len(names.split()) - len(set(names.split())) == 2_539
    train = set(found.text[1:-1].split("\n")[:28_829])
    assert sum(line in train for line in found.text[1:-1].split("\n")[28_829:]) == 473
    assert found.text[1:-1].split("\n")[:4] == ["vander", "ever", "hazen", "hero"]


def test_a_line_break_of_more_than_one_token_is_refused():
    class Twice(ByteTokenizer):
        def encode(self, text):
            return super().encode(text).repeat(2)

    named = data_problem(lambda: Documents(settings("-")).end(Twice()))
    assert "it makes 2 tokens of a line break" in str(named)
