"""Batches of documents: each once in an epoch, cut and padded as in microGPT, the same for ever."""

import itertools

import pytest
from document_lines import BLOCK_SIZE, as_microgpt, corpus, numbered, rows_of

LINES = numbered(30)  # 27 to train on and 3 for validation


def stream(source, count):
    """The first `count` rows or a few more, batch after batch."""
    steps = range(-(-count // source.rows))
    return [row for step in steps for row in rows_of(source.batch(step))]


@pytest.mark.parametrize("rows", [1, 4, 26, 27, 28, 40, 100])
def test_each_epoch_holds_each_document_once_whatever_the_batch_size(rows):
    source, tokenizer = corpus(LINES, rows=rows)
    found = stream(source, 4 * 27)[: 4 * 27]
    assert found == stream(corpus(LINES, rows=1)[0], 4 * 27)  # accumulated or not
    epochs = [found[i : i + 27] for i in range(0, 4 * 27, 27)]
    expected = sorted(as_microgpt(line, tokenizer, BLOCK_SIZE) for line in LINES[:27])
    for epoch in epochs:
        assert sorted(epoch) == expected
    assert all(one != two for one, two in itertools.combinations(epochs, 2))


@pytest.mark.parametrize("block_size", [1, 2, 7, 8, 11, 12, 50])
def test_a_batch_is_as_long_as_its_longest_document_that_the_context_holds(block_size):
    source, _ = corpus(LINES, block_size, rows=27)
    longest = min(block_size, 11)  # ten characters and the end
    assert source.batch(0).inputs.shape == (27, longest)


def test_the_last_document_of_a_split_is_padded_and_not_read_beyond():
    source, tokenizer = corpus(["abcdefg", "hijklmn", "o", "p"], rows=3, val_fraction=0.25)
    assert as_microgpt("o", tokenizer, BLOCK_SIZE) in rows_of(source.batch(0))
    [batch] = source.windows("val", 3)
    assert rows_of(batch) == [as_microgpt("p", tokenizer, BLOCK_SIZE)]


def test_golden_batch():
    """Runs that people have rest on this order, so it never changes."""
    lines = ["anna", "bob", "cy", "dan", "eve", "fay"]
    source, tokenizer = corpus(lines, 4, rows=3, val_fraction=0.2)
    shown = [
        (tokenizer.decode(x).replace("\n", "."), tokenizer.decode([t for t in y if t >= 0]))
        for x, y in zip(*(part.tolist() for part in source.batch(1)), strict=True)
    ]
    assert shown == [(".ann", "anna"), (".dan", "dan\n"), (".cy.", "cy\n")]


def test_a_cap_keeps_whole_documents_at_equal_distances():
    lines = [chr(97 + i % 20) * (1 + i % 7) for i in range(100)]
    source, _ = corpus(lines, 5, rows=3, val_fraction=0.5)
    whole = [row for batch in source.windows("val", 4) for row in rows_of(batch)]
    for cap in range(1, source.targets("val") + 2):
        rows = [row for batch in source.windows("val", 4, cap=cap) for row in rows_of(batch)]
        targets = source.targets("val", cap=cap)
        assert targets <= max(cap, 5)
        assert targets > cap - 25 or targets == source.targets("val")  # few fit beside them
        assert len(rows) == len(whole) or cap < source.targets("val")
        assert all(row in whole for row in rows)
    few = [row for batch in source.windows("val", 4, cap=10) for row in rows_of(batch)]
    places = [whole.index(row) for row in few]
    assert min(places) >= 5  # not the head of the split
    assert source.targets("val", 60, 10) <= 10
