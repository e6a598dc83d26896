"""Documents: how a file becomes them, how they are split, and what a batch of them is."""

import itertools

import numpy as np
import pytest
import torch
from document_lines import BLOCK_SIZE, as_microgpt, corpus, file_of, numbered, settings, tokenized
from small_runs import ONE_LINE, problem_lines

from gptexp.config import ByteTokenizerConfig, CharTokenizerConfig
from gptexp.data import documents
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.data.load import describe_text, load_corpus
from gptexp.data.read import read_text
from gptexp.errors import DataError
from gptexp.tokenizers.build import build_tokenizer
from gptexp.tokenizers.byte import ByteTokenizer

LINES = numbered(30)  # 27 to train on and 3 for validation, where nothing else is said


def problems(call, *arguments):
    """The lines of the DataError that `call` raises, each of which names its cure."""
    with pytest.raises(DataError) as caught:
        call(*arguments)
    for line in problem_lines(caught.value):
        assert ONE_LINE.fullmatch(line), line
    return problem_lines(caught.value)


# The file


@pytest.fixture
def read(tmp_path):
    """`read(b"...")`: the documents of a file with these bytes, in its order."""

    def call(raw, shuffle=False):
        path = tmp_path / "corpus.txt"
        path.write_bytes(raw)
        text = read_text(settings(path, shuffle=shuffle))
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
def test_B4_one_document_is_refused(read, tmp_path, raw):
    [line] = problems(read, raw)
    assert line.startswith(f"{tmp_path / 'corpus.txt'}: holds one document")


@pytest.mark.parametrize("raw", [b"", b"\n\n", b" \n\t\r\n"])
def test_B2_a_file_without_any_document_is_refused(read, raw):
    [line] = problems(read, raw)
    assert "holds no text" in line


def test_a_text_as_text_keeps_its_white_space(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b" anna\n\nbob ")
    assert read_text(settings(path, documents=False)) == " anna\n\nbob "


def test_the_shuffle_is_the_same_for_every_seed_and_not_the_file_s_order(composed, tmp_path):
    path = file_of(LINES, tmp_path)
    given = ["data=documents", f"data.path={path}", "model=micro"]
    texts = [load_corpus(composed(*given, f"seed={seed}")).text for seed in (0, 1, 2)]
    assert len(set(texts)) == 1
    lines = texts[0][1:-1].split("\n")
    assert lines != LINES
    assert sorted(lines) == LINES
    # Golden: the documents that runs are judged on never change.
    assert [line[:2] for line in lines[:6]] == ["06", "15", "29", "01", "04", "25"]


def test_without_shuffle_the_file_s_order_stays(read):
    assert read("\n".join(LINES).encode()) == LINES
    assert read("\n".join(LINES).encode(), shuffle=True) != LINES


def test_the_boundary_is_the_vocabulary_s_last_character(composed, tmp_path):
    text, _ = tokenized(["ba", "a\tb", "é", " b a"])
    made = build_tokenizer(CharTokenizerConfig(name="char"), text, documents=True)
    assert made.characters == "\t abé\n"
    assert documents.boundary(made) == made.vocab_size - 1
    assert documents.boundary(build_tokenizer(ByteTokenizerConfig(name="byte"), text)) == 10


# Splits


def lines_of(ids, tokenizer):
    """The documents of a split, which begins and ends with a boundary."""
    if not len(ids):
        return []
    text = tokenizer.decode(ids)
    assert text[0] == text[-1] == "\n"
    return text[1:-1].split("\n")


def cut(lines, tokenizer=None, **changes):
    text, characters = tokenized(lines)
    tokenizer = tokenizer or characters
    splits = documents.split(text, settings(**changes), tokenizer)
    return [lines_of(part, tokenizer) for part in (splits.train, splits.test, splits.val)], splits


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
    [line] = problems(lambda: cut(numbered(count), **changes))
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


def test_the_data_line_says_counts_repeats_and_what_is_cut(tmp_path):
    lines = ["ann", "bo", "ann", "elizabeth", "bo", "eve", "ann", "isabelle", "bo", "eve"]
    text, tokenizer = tokenized(lines)
    asked = settings("x.txt", val_fraction=0.3, test_fraction=0.2)
    splits = documents.split(text, asked, tokenizer)
    line = describe_text(asked, text, tokenizer, splits, 8)
    pairs = len(set(itertools.pairwise(text)))
    assert line == (  # 10 lines, 5 different; train ann bo ann elizabeth bo, val isabelle bo eve
        f"x.txt: {len(text)} characters, {len(text)} tokens of 13 characters; 10 documents "
        "(5 repeat another); 5 train, 2 test, 3 val, 1 of them in train too; "
        f"2 longer than block_size are cut there; {pairs} of 169 bigrams occur"
    )
    asked = settings("x.txt", val_fraction=0.3, test_fraction=0.2, fraction=0.2)
    splits = documents.split(text, asked, tokenizer)
    line = describe_text(asked, text, tokenizer, splits, 10)
    assert "; 1 train, 2 test, 3 val, 0 of them in train too; " in line
    assert "cut there" not in line  # with its end, elizabeth has ten targets
    assert "; 1 longer than" in describe_text(asked, text, tokenizer, splits, 9)


# Batches


def rows(batch):
    """Each row's inputs and targets without the padding, which must come last."""
    found = []
    for x, y in zip(*batch, strict=True):
        n = int((y != IGNORE_INDEX).sum())
        assert (y[:n] != IGNORE_INDEX).all()
        assert (y[n:] == IGNORE_INDEX).all()
        found.append((x[:n].tolist(), y[:n].tolist()))
    return found


def stream(source, sequences, count, rank=0):
    """The first `count` rows or a few more, batch after batch."""
    steps = range(-(-count // sequences))
    return [row for step in steps for row in rows(source.batch("train", step, sequences, rank))]


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_batch_is_a_function_of_seed_rank_and_step_alone():
    one, two = corpus(LINES)[0], corpus(LINES)[0]
    wanted = {step: one.batch("train", step, 4) for step in range(20)}
    for step in (13, 2, 19, 2, 0, 7):
        two.trained(step + 3, 5)
        two.batch("val", step, 3)
        list(two.windows("train", 4))
        assert same(two.batch("train", step, 4), wanted[step])
    other_seed, other_rank = corpus(LINES, seed=1)[0], one.batch("train", 0, 27, rank=1)
    whole = one.batch("train", 0, 27)
    assert not same(whole, other_seed.batch("train", 0, 27))
    assert not same(whole, other_rank)


@pytest.mark.parametrize("sequences", [1, 4, 26, 27, 28, 40, 100])
def test_each_epoch_holds_each_document_once_whatever_the_batch_size(sequences):
    source, tokenizer = corpus(LINES)
    found = stream(source, sequences, 4 * 27)
    assert found[: 4 * 27] == stream(source, 1, 4 * 27)  # so accumulated batches are larger ones
    epochs = [found[i : i + 27] for i in range(0, 4 * 27, 27)]
    expected = sorted(as_microgpt(line, tokenizer, BLOCK_SIZE) for line in LINES[:27])
    for epoch in epochs:
        assert sorted(epoch) == expected
    assert all(one != two for one, two in itertools.combinations(epochs, 2))


@pytest.mark.parametrize("block_size", [1, 2, 7, 8, 11, 12, 50])
def test_a_document_is_cut_as_microgpt_cuts_it_and_padding_has_no_target(block_size):
    source, tokenizer = corpus(LINES, block_size)
    x, y = source.batch("train", 0, 27)
    longest = min(block_size, 11)  # ten characters and the end
    assert x.shape == y.shape == (27, longest)
    assert x.dtype == y.dtype == torch.int64
    expected = sorted(as_microgpt(line, tokenizer, block_size) for line in LINES[:27])
    assert sorted(rows((x, y))) == expected
    assert (x >= 0).all()
    assert (x < tokenizer.vocab_size).all()  # padding can be looked up


def test_the_last_document_of_a_split_is_padded_and_not_read_beyond():
    source, tokenizer = corpus(["abcdefg", "hijklmn", "o", "p"], val_fraction=0.25)
    [row] = rows(source.batch("val", 0, 1))
    assert row == as_microgpt("p", tokenizer, BLOCK_SIZE)
    found = rows(source.batch("train", 0, 3))
    assert as_microgpt("o", tokenizer, BLOCK_SIZE) in found


def test_golden_batch():
    """Runs that people have rest on this order, so it never changes."""
    source, tokenizer = corpus(["anna", "bob", "cy", "dan", "eve", "fay"], 4, val_fraction=0.2)
    x, y = source.batch("train", 1, 3)
    shown = [
        (tokenizer.decode(a).replace("\n", "."), tokenizer.decode([t for t in b if t >= 0]))
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    assert shown == [(".ann", "anna"), (".dan", "dan\n"), (".cy.", "cy\n")]


@pytest.mark.parametrize("sequences", [1, 5, 27, 64])
@pytest.mark.parametrize("block_size", [1, 8, 50])
def test_trained_counts_the_real_targets_of_all_batches_so_far(sequences, block_size):
    source, _ = corpus(LINES, block_size)
    total = 0
    for step in range(-(-70 // sequences) + 1):
        assert source.trained(step, sequences) == total
        total += int((source.batch("train", step, sequences)[1] != IGNORE_INDEX).sum())
    assert source.trained(27, 1) == source.size("train")
    assert source.trained(27, 10) == 10 * source.size("train")


def test_an_epoch_has_so_many_documents_and_so_many_targets():
    source, tokenizer = corpus(LINES, test_fraction=0.2)
    for name, lines in {"train": LINES[:21], "test": LINES[21:27], "val": LINES[27:]}.items():
        targets = [as_microgpt(line, tokenizer, BLOCK_SIZE)[1] for line in lines]
        assert source.sequences(name) == len(lines)
        assert source.size(name) == sum(map(len, targets))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_windows_cover_each_document_once_in_order(batch_size):
    source, tokenizer = corpus(LINES)
    for name, lines in {"train": LINES[:27], "val": LINES[27:]}.items():
        batches = list(source.windows(name, batch_size))
        found = [row for batch in batches for row in rows(batch)]
        assert found == [as_microgpt(line, tokenizer, BLOCK_SIZE) for line in lines]
        assert all(len(x) == batch_size for x, _ in batches[:-1])
        assert all(
            (y != IGNORE_INDEX).any(dim=0).all() for _, y in batches
        )  # no column for nothing
    assert list(source.windows("test", batch_size)) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 10, 57, 10_000])
def test_a_limit_keeps_whole_documents_and_at_least_one(limit):
    source, tokenizer = corpus(LINES)
    found = [row for batch in source.windows("train", 4, limit) for row in rows(batch)]
    expected = [as_microgpt(line, tokenizer, BLOCK_SIZE) for line in LINES[:27]]
    assert found == expected[: len(found)]
    tokens = np.cumsum([len(targets) for _, targets in expected])
    assert len(found) == max(1, np.searchsorted(tokens, limit, side="right"))


# The real names


def test_claim_8_the_names_are_32033_of_27_tokens(names, composed):
    found = load_corpus(composed("experiment=microgpt"))
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
