"""Batches of a text without replacement: each window once in an epoch, each place in its turn."""

import itertools

import numpy as np
import pytest
import torch

from gptexp.config import Windows
from gptexp.data.corpus import Splits
from gptexp.data.text import EpochWindows, TextCorpus

BLOCK = 8


def corpus(train: int, rows: int, seed: int = 0) -> TextCorpus:
    """A text whose tokens say where they stand."""
    ids = np.arange(train + 65)
    splits = Splits(ids[:train], ids[:0], ids[train:], {})
    return TextCorpus(splits, BLOCK, rows, seed, torch.device("cpu"), Windows.epoch)


def starts(train: int, rows: int, count: int, seed: int = 0) -> list[int]:
    """Where the first `count` windows begin, batch after batch."""
    source = corpus(train, rows, seed)
    batches = (source.batch(step).inputs[:, 0].tolist() for step in range(-(-count // rows)))
    return list(itertools.chain(*batches))[:count]


def epochs(found: list[int], train: int) -> list[list[int]]:
    """The windows of each epoch: as many as lie side by side from the offset of its first one."""
    cut = []
    while found:
        count = (train - 1 - found[0] % BLOCK) // BLOCK
        cut.append(found[:count])
        found = found[count:]
    return cut


@pytest.mark.parametrize("train", [101, 104, 108])
def test_each_epoch_holds_each_window_of_its_offset_once(train: int) -> None:
    whole = epochs(starts(train, 5, 4 * BLOCK * 12), train)[:-1]
    assert len(whole) > 2 * BLOCK
    for epoch in whole:
        offset = epoch[0] % BLOCK
        assert sorted(epoch) == list(range(offset, train - BLOCK, BLOCK))
    assert all(one != sorted(one) for one in whole), "in a drawn order"


def test_each_offset_has_its_turn_once_in_as_many_epochs_as_there_are() -> None:
    cut = epochs(starts(101, 5, 3 * BLOCK * 12), 101)
    offsets = [epoch[0] % BLOCK for epoch in cut]
    assert sorted(offsets[:BLOCK]) == sorted(offsets[BLOCK : 2 * BLOCK]) == list(range(BLOCK))
    assert offsets[:BLOCK] != offsets[BLOCK : 2 * BLOCK]
    every = itertools.chain(*cut[:BLOCK])
    assert sorted(every) == list(range(101 - BLOCK)), "each place begins a window once"


@pytest.mark.parametrize("rows", [1, 4, 11, 12, 13, 40, 300])
def test_the_batch_size_does_not_change_the_order(rows: int) -> None:
    assert starts(101, rows, 400) == starts(101, 1, 400)


@pytest.mark.parametrize("train", [9, 10, 15, 16, 17, 24])
def test_a_text_of_few_windows_is_gone_through_to_its_last_token(train: int) -> None:
    found = starts(train, 7, 4 * (train - BLOCK))
    for begin in range(0, len(found), train - BLOCK):
        assert sorted(found[begin : begin + train - BLOCK]) == list(range(train - BLOCK))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_ranks_partition_the_batch(world: int) -> None:
    source = corpus(101, 6)
    for step in (0, 1, 2, 50):
        whole = source.batch(step)
        shares = [source.batch(step, rank, world) for rank in range(world)]
        assert sum(len(share.inputs) for share in shares) == 6
        for rank, share in enumerate(shares):
            assert torch.equal(share.inputs, whole.inputs[rank::world])
            assert torch.equal(share.targets, whole.targets[rank::world])


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    source = corpus(101, 6, seed=3)
    forwards = [source.batch(step).inputs for step in range(30)]
    for step in (29, 0, 17, 2, 16):
        assert torch.equal(corpus(101, 6, seed=3).batch(step).inputs, forwards[step])
        assert torch.equal(source.batch(step).inputs, forwards[step])
    assert not torch.equal(corpus(101, 6, seed=4).batch(0).inputs, forwards[0])


def test_the_windows_of_a_seed_stay_what_they_are() -> None:
    """These change only if runs of older releases may no longer be repeated or resumed."""
    found = EpochWindows(100, BLOCK, seed=0).starts(np.array([0, 1, 2, 3, 11, 12, 10**9]))
    assert found.tolist() == [82, 58, 90, 2, 26, 87, 51]
