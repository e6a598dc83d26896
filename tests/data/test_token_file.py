"""Token files cut into splits, and their batches: those of a text that has the same tokens."""

import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from document_lines import CPU
from small_runs import only, problem_lines
from token_folders import npy, raw, settings

from gptexp.config import (
    ByteTokenizerConfig,
    GPT2TokenizerConfig,
    StoredTokenizerConfig,
    Windows,
)
from gptexp.data.corpus import Splits
from gptexp.data.load import load_corpus, read_corpus, split_corpus, whole_corpus
from gptexp.data.shards import find_token_files
from gptexp.data.text import TextCorpus
from gptexp.data.token_file import PIECES, Piece, Stream
from gptexp.errors import DataError
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.ids import TokenIds

pytestmark = pytest.mark.usefixtures("own_cache")

STORED = StoredTokenizerConfig(name="stored")


def loaded(path, tokenizer=STORED, block_size=8, **changes):
    return load_corpus(settings(path, **changes), tokenizer, block_size)


def refusal(path, tokenizer=STORED, block_size=8, **changes):
    with pytest.raises(DataError) as refused:
        loaded(path, tokenizer, block_size, **changes)
    return only(problem_lines(refused.value))


@pytest.fixture
def folder(tmp_path):
    """300 tokens for training in three shards of two kinds, and 40 for validation."""
    raw(tmp_path / "train_0.bin", range(100))
    npy(tmp_path / "train_1.npy", range(100, 103), "<u4")
    raw(tmp_path / "train_2.bin", range(103, 300))
    raw(tmp_path / "val.bin", range(300, 340))
    return tmp_path


# Streams


def stream_of(folder, ends):
    """The tokens 0, 1, ... in shards that end at these."""
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        raw(folder / f"{number}.bin", range(start, end))
    found = find_token_files(settings(folder)).shards
    return Stream(Piece(shard, 0, shard.tokens) for shard in found)


def test_a_stream_over_several_shards_reads_as_one(tmp_path):
    whole = np.arange(50, dtype=np.uint16)
    stream = stream_of(tmp_path, [1, 7, 30, 50])
    assert len(stream) == 50 and np.array_equal(stream.array(), whole)
    starts = np.arange(41)
    assert np.array_equal(stream.rows(starts, 10), starts[:, None] + np.arange(10))
    for start, end in [(0, 50), (3, 29), (7, 7), (6, 31), (49, 50)]:
        assert np.array_equal(stream.cut(start, end).array(), whole[start:end])


@pytest.mark.parametrize("tokens", [1, 63, 64, 1000, 59_999])
def test_pieces_of_a_stream_are_evenly_spread_and_as_many_tokens_as_asked_for(tmp_path, tokens):
    stream = stream_of(tmp_path, [12_345, 40_000, 60_000])
    ids = stream.spread(tokens).array().astype(int)
    assert len(ids) == tokens and (np.diff(ids) > 0).all()
    assert ids.mean() == pytest.approx(30_000, rel=0.05), "neither the begin nor the end"
    assert (np.diff(ids) > 1).sum() < PIECES
    assert stream.spread(60_000) is stream


# The corpus


@pytest.mark.parametrize("sampling", list(Windows))
def test_batches_and_windows_are_those_of_a_text_with_the_same_tokens(folder, sampling):
    found = loaded(folder, sampling=sampling)
    ours = found.corpus(4, 0, CPU)
    assert len(found.splits.train) == 300, "all of so few"
    splits = {name: ids.copy() for name, ids in found.splits.items()}
    theirs = TextCorpus(Splits(**splits, bounds={}), 8, 4, 0, CPU, sampling)
    for step in range(30):
        for share in ((0, 1), (0, 2), (1, 2), (3, 5)):
            assert torch.equal(ours.batch(step, *share)[0], theirs.batch(step, *share)[0])
            assert torch.equal(ours.batch(step, *share)[1], theirs.batch(step, *share)[1])
    for split in ("train", "val", "test"):
        for limit, cap in ((None, None), (20, None), (None, 16), (25, 9)):
            pairs = zip(
                ours.windows(split, 3, limit, cap),
                theirs.windows(split, 3, limit, cap),
                strict=True,
            )
            assert all(
                torch.equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True)
            )
            assert ours.targets(split, limit, cap) == theirs.targets(split, limit, cap)
    assert ours.tokens_per_epoch("train") == 300 and ours.tokens_seen(3) == 96


def test_the_splits_are_those_of_the_names_and_fraction_keeps_a_prefix(folder):
    found = loaded(folder, fraction=0.5, test_fraction=0.1)
    assert found.splits.bounds == {"train": (0, 266), "test": (266, 300), "val": (300, 340)}
    assert found.splits.train.tolist() == list(range(133))
    assert found.splits.test.tolist() == list(range(266, 300))
    assert found.splits.val.tolist() == list(range(300, 340))


def test_without_names_the_last_part_of_all_is_for_validation(tmp_path):
    raw(tmp_path / "b.bin", range(50, 100))
    raw(tmp_path / "a.bin", range(50))
    found = loaded(tmp_path, val_fraction=0.2)
    assert found.splits.bounds["val"] == (80, 100)
    assert found.splits.val.tolist() == list(range(80, 100))


def test_a_whole_corpus_is_judged_whatever_the_names_say(folder):
    data = settings(folder)
    cut = whole_corpus(data, read_corpus(data), TokenIds(340), 8)
    assert cut.splits.val.tolist() == list(range(340))


def test_val_tokens_judges_so_many_and_the_words_say_so(tmp_path):
    raw(tmp_path / "a.bin", np.arange(20_000) % 340)
    found = loaded(tmp_path, val_fraction=0.5, val_tokens=640)
    assert found.corpus(4, 0, CPU).targets("val") == 639
    assert found.splits.bounds["val"] == (10_000, 20_000)
    assert "10,000 val of which 640 in 64 pieces evenly spread are judged" in found.describe()


def test_the_vocabulary_that_was_taken_is_told(folder):
    assert "50,257 bare ids (GPT-2's number" in loaded(folder).describe()
    told = loaded(folder, vocab_size=340)
    assert "340 tokens of 340 bare ids; 300 train, 40 val" in told.describe()
    assert told.tokenizer.vocab_size == 340


def test_a_token_past_the_vocabulary_is_one_line_with_a_fix_that_works(folder):
    line = refusal(folder, vocab_size=330)
    assert "val.bin: holds token 339, past the vocabulary of 330" in line
    assert "data.vocab_size=340" in line
    assert loaded(folder, vocab_size=340).tokenizer.vocab_size == 340


def test_a_named_tokenizer_tells_the_vocabulary(tmp_path):
    raw(tmp_path / "a.bin", list(b"some bytes, each a token, " * 20))
    found = loaded(tmp_path, ByteTokenizerConfig(name="byte"))
    assert isinstance(found.tokenizer, ByteTokenizer)
    assert "data.vocab_size: 300" in refusal(
        tmp_path, ByteTokenizerConfig(name="byte"), vocab_size=300
    )


def test_a_split_too_short_for_the_context_is_one_line(folder):
    assert "model.block_size=39 at most" in refusal(folder, block_size=60)
    assert "val has 10" in refusal(folder, block_size=12, val_tokens=10)
    assert loaded(folder, block_size=39)


def test_what_is_written_while_the_run_reads_is_one_line(folder):
    corpus = loaded(folder, vocab_size=340).corpus(4, 0, CPU)
    files = [folder / name for name in ("train_0.bin", "train_2.bin")]
    times = [file.stat().st_mtime_ns for file in files]
    for file in files:
        raw(file, [999] * (file.stat().st_size // 2))
    with pytest.raises(DataError, match="changed while it was in use"):
        corpus.batch(0)
    for file, time in zip(files, times, strict=True):  # as a file that is mapped by its writer
        os.utime(file, ns=(time, time))
    with pytest.raises(DataError, match="token 999 in a batch is past the vocabulary, 340"):
        corpus.batch(0)


def test_files_that_changed_while_the_run_started_are_refused(folder):
    with pytest.raises(DataError, match="changed while the run was starting"):
        read_corpus(settings(folder), "0" * 64)


def test_only_what_is_needed_has_to_be_long_enough(tmp_path):
    raw(tmp_path / "a.bin", range(10))
    data = settings(tmp_path)
    cut = split_corpus(data, read_corpus(data), TokenIds(10), 1, needed=("train",))
    assert cut.splits.train.tolist() == list(range(9))


def test_gpt2_is_not_asked_for_by_stored_files(folder):
    """The merges need not be there for tokens that nobody turns into text."""
    assert loaded(folder).tokenizer.to_dict() == {"name": "ids", "vocab_size": 50257}
    assert GPT2TokenizerConfig(name="gpt2") != STORED
