"""What every corpus keeps to: its batches, its windows and its counts agree."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from document_lines import CPU, Row, as_microgpt, numbered, rows_of, split_lines
from document_lines import settings as document_settings
from text_files import settings as text_settings

from gptexp.data.corpus import IGNORE_INDEX, SPLITS, Batch, Corpus, Format, Splits, compact
from gptexp.data.documents import Documents
from gptexp.data.load import format_of
from gptexp.data.text import Text
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.char import CharTokenizer


@dataclass(frozen=True)
class Case:
    """A corpus to be, and by another way what it holds."""

    name: str
    format: Format
    tokenizer: Tokenizer
    splits: Splits
    block_size: int
    drawn: list[Row]  # all that a batch may hold
    windows: Callable[..., list[Row]]  # of a split, up to a limit, in order
    unpredicted: int  # tokens of a split that are in no target

    def corpus(self, rows: int = 4, seed: int = 0) -> Corpus:
        return self.format.corpus(self.splits, self.tokenizer, self.block_size, rows, seed, CPU)


def text_windows(ids: list[int], block_size: int) -> list[Row]:
    """Side by side; the last is as long as the rest."""
    starts = range(0, len(ids) - 1, block_size)
    return [
        (ids[i : i + block_size][: len(ids) - 1 - i], ids[i + 1 :][:block_size]) for i in starts
    ]


def text(val: int, train: int = 60, test: int = 0, block_size: int = 8) -> Case:
    """Tokens that say where they stand; each split goes on where the one before it ends."""
    ids = np.arange(train + test + val)
    splits = Splits(ids[:train], ids[train : train + test], ids[train + test :], {})
    tokens = ids.tolist()
    drawn = [
        (tokens[i : i + block_size], tokens[i + 1 : i + 1 + block_size])
        for i in range(train - block_size)
    ]

    def windows(split: str, limit: int | None = None) -> list[Row]:
        return text_windows(getattr(splits, split)[:limit].tolist(), block_size)

    tokenizer = CharTokenizer("".join(chr(0x4E00 + i) for i in tokens))
    name = f"text-{train}-{test}-{val}-by-{block_size}"
    return Case(name, Text(text_settings()), tokenizer, splits, block_size, drawn, windows, 1)


def documents(count: int, block_size: int, **changes: float) -> Case:
    """Lines of 2 to 10 characters: contexts of less than 11 tokens cut some of them."""
    lines = numbered(count)
    splits, tokenizer = split_lines(lines, **changes)
    rows = [as_microgpt(line, tokenizer, block_size) for line in lines]

    def windows(split: str, limit: int | None = None) -> list[Row]:
        """Whole documents within the limit, and at least one."""
        start, end = splits.bounds[split]
        counts = itertools.accumulate(len(targets) for _, targets in rows[start:end])
        kept = sum(limit is None or count <= limit for count in counts)
        return rows[start:end][: max(1, kept)]

    drawn = windows("train")
    name = f"documents-{count}-by-{block_size}{''.join(f'-{key}' for key in changes)}"
    reading = Documents(document_settings())
    return Case(name, reading, tokenizer, splits, block_size, drawn, windows, 0)


# Lengths of validation on both sides of whole windows, and contexts that fit some documents.
TEXTS = [
    *(text(val) for val in (2, 8, 9, 10, 16, 17, 18, 64, 65, 66)),
    text(9, train=9),
    text(30, test=20),
    text(5, train=12, test=3, block_size=1),
]
DOCUMENTS = [
    *(documents(30, block_size) for block_size in (1, 2, 7, 8, 11, 12, 50)),
    documents(30, 8, test_fraction=0.2),
    documents(2, 8),
]
CASES = [*TEXTS, *DOCUMENTS]

every_corpus = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def same(one: Batch, two: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# Batches


@every_corpus
def test_a_batch_follows_from_seed_and_step_alone(case):
    one, two = case.corpus(seed=3), case.corpus(seed=3)
    expected = {step: one.batch(step) for step in range(20)}
    for step in (13, 2, 19, 2, 0, 7):
        two.tokens_seen(step + 3)
        two.batch(step + 1, 1, 2)
        list(two.windows("train", 3))
        torch.manual_seed(step)
        np.random.seed(step)
        assert same(two.batch(step), expected[step])


@pytest.mark.parametrize("case", [text(66), documents(30, 8)], ids=lambda case: case.name)
def test_another_seed_or_step_is_another_batch(case):
    batches = [
        repr(rows_of(case.corpus(rows=16, seed=seed).batch(step)))
        for seed in range(3)
        for step in range(3)
    ]
    assert len(set(batches)) == len(batches)


@every_corpus
def test_batches_and_windows_draw_from_no_generator_of_others(case):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    corpus = case.corpus()
    corpus.batch(0)
    list(corpus.windows("val", 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@every_corpus
def test_a_batch_has_so_many_rows_of_inputs_and_of_what_follows_them(case):
    for rows, step in itertools.product((1, 4, 27, 40), range(3)):
        corpus = case.corpus(rows)
        assert (corpus.rows, corpus.block_size) == (rows, case.block_size)
        batch = corpus.batch(step)
        check_form(batch, case)
        found = rows_of(batch)
        assert len(found) == rows
        assert all(inputs[1:] == targets[:-1] for inputs, targets in found)


def check_form(batch: Batch, case: Case) -> None:
    """Shapes and types; padding can be looked up, and no column is padding alone."""
    inputs, targets = batch
    assert isinstance(batch, Batch)
    assert inputs.shape == targets.shape
    assert inputs.dtype == targets.dtype == torch.int64
    assert 0 < inputs.shape[1] <= case.block_size
    assert (inputs >= 0).all()
    assert (inputs < case.tokenizer.vocab_size).all()
    assert (targets != IGNORE_INDEX).any(dim=0).all()


@every_corpus
def test_batches_hold_all_of_the_training_split_and_nothing_beyond(case):
    corpus = case.corpus(rows=64)
    found = {repr(row) for step in range(20) for row in rows_of(corpus.batch(step))}
    assert found == set(map(repr, case.drawn))


@every_corpus
def test_rank_r_of_n_devices_takes_every_nth_row_from_the_rth_on(case):
    for rows, world in ((4, 1), (4, 2), (4, 4), (12, 3), (7, 2), (70, 8), (2, 3)):
        corpus = case.corpus(rows)
        for step in (0, 1, 9):
            whole = rows_of(corpus.batch(step))
            for rank in range(world):
                share = corpus.batch(step, rank, world)
                if rank < rows:
                    check_form(share, case)
                assert rows_of(share) == whole[rank::world]


# Windows

LIMITS = [None, 1, 2, 3, 8, 9, 10, 17, 40, 57, 10_000]


@every_corpus
def test_windows_hold_every_target_of_a_split_once_and_in_order(case):
    corpus = case.corpus()
    for split, batch_size, limit in itertools.product(SPLITS, (1, 3, 64), LIMITS):
        batches = list(corpus.windows(split, batch_size, limit))
        found = [rows_of(batch) for batch in batches]
        assert list(itertools.chain(*found)) == case.windows(split, limit)
        assert all(len(rows) <= batch_size for rows in found)
        # A text leaves one shorter window, which is a batch by itself.
        assert all(len(rows) == batch_size for rows in found[:-2])
        for batch in batches:
            check_form(batch, case)


@every_corpus
def test_windows_of_all_tokens_are_those_without_a_limit(case):
    corpus = case.corpus()
    for split in SPLITS:
        whole = list(corpus.windows(split, 3))
        limited = list(corpus.windows(split, 3, corpus.tokens_per_epoch(split)))
        assert len(whole) == len(limited)
        assert all(map(same, whole, limited))


@every_corpus
def test_the_target_mask_of_the_format_marks_what_the_windows_predict(case):
    for split, ids in case.splits.items():
        mask = case.format.target_mask(ids, case.tokenizer, case.block_size)
        assert mask.shape == ids.shape
        expected = itertools.chain(*(targets for _, targets in case.windows(split)))
        assert ids[mask].tolist() == list(expected)


# Counts


@every_corpus
def test_an_epoch_has_the_tokens_and_the_rows_of_the_windows(case):
    corpus = case.corpus()
    for split in SPLITS:
        rows = case.windows(split)
        spare = case.unpredicted if rows else 0
        tokens = sum(len(targets) for _, targets in rows)
        assert corpus.tokens_per_epoch(split) == tokens + spare
        assert abs(corpus.rows_per_epoch(split) - len(rows)) <= spare


@every_corpus
def test_tokens_seen_are_the_targets_of_all_batches_so_far(case):
    for rows in (1, 5, 27, 64):
        batches, counts = case.corpus(rows), case.corpus(rows)
        total = 0
        for step in range(-(-70 // rows) + 1):
            assert batches.tokens_seen(step) == counts.tokens_seen(step) == total
            total += int((batches.batch(step).targets != IGNORE_INDEX).sum())
        assert counts.tokens_seen(1) == case.corpus(rows).tokens_seen(1)  # in any order


@every_corpus
def test_whole_epochs_have_as_many_tokens_as_one_says(case):
    rows_of_epochs = round(case.corpus().rows_per_epoch("train") * case.block_size)
    corpus = case.corpus(rows_of_epochs)  # a step is block_size epochs
    assert corpus.tokens_seen(3) == 3 * case.block_size * corpus.tokens_per_epoch("train")


# The end of a sample


@every_corpus
def test_no_context_reaches_over_the_end_of_a_sample(case):
    corpus = case.corpus(rows=40)
    assert corpus.end == case.format.end(case.tokenizer)
    assert (corpus.end is None) == isinstance(case.format, Text)
    if corpus.end is None:
        return
    windows = itertools.chain(*(corpus.windows(split, 5) for split in SPLITS))
    for batch in (corpus.batch(0), corpus.batch(1), *windows):
        for inputs, targets in rows_of(batch):
            assert [place for place, token in enumerate(inputs) if token == corpus.end] == [0]
            assert corpus.end not in targets[:-1]


@pytest.mark.parametrize(
    ("vocab_size", "kind"),
    [(65, "uint8"), (256, "uint8"), (257, "int16"), (32768, "int16"), (32769, "int32")],
)
def test_ids_are_kept_in_as_few_bytes_as_the_vocabulary_needs(vocab_size: int, kind: str) -> None:
    ids = np.array([0, vocab_size - 1])
    kept = compact(ids, vocab_size)
    assert kept.dtype == kind
    assert kept.tolist() == ids.tolist()


@pytest.mark.parametrize("data", [text_settings(), document_settings()], ids=["text", "documents"])
def test_what_is_kept_in_bytes_gives_the_batches_and_windows_of_whole_integers(data) -> None:
    read = "".join(f"{word}\n" for word in ["to", "be", "or", "not", "that", "is"] * 9)
    tokenizer, form = CharTokenizer("".join(sorted(set(read)))), format_of(data)
    kept = form.split(form.normalise(read), tokenizer, 4)
    wide = Splits(**{name: ids.astype(np.int64) for name, ids in kept.items()}, bounds=kept.bounds)
    one, other = (form.corpus(each, tokenizer, 4, 3, 0, CPU) for each in (kept, wide))
    assert {tokens.dtype for tokens in one.tokens.values()} == {torch.uint8}
    batches = [[c.batch(0), c.batch(7), *c.windows("val", 2)] for c in (one, other)]
    for mine, theirs in zip(*batches, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.dtype == torch.int64
            assert torch.equal(a, b)
            assert a.stride() == b.stride()
