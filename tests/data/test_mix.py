"""A mix of corpora: shares, batches as functions of the step, portions of an evaluation."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import refusal

from gptexp.config import CharTokenizerConfig, Windows
from gptexp.data.load import load_corpus
from gptexp.data.mix import BLOCK, Turns
from gptexp.data.parts import parts_of, shares
from gptexp.data.read import corpus_digest

CPU = torch.device("cpu")
LETTERS, DIGITS = "abcdefgh\n" * 40, "0123456789\n" * 100


@pytest.fixture
def files(tmp_path):
    for name, text in [("letters", LETTERS), ("digits", DIGITS)]:
        (tmp_path / f"{name}.txt").write_text(text)
    return [str(tmp_path / f"{name}.txt") for name in ("letters", "digits")]


@pytest.fixture
def mixed(composed, files):
    """The section of a mix of these two files."""

    def build(letters=3.0, digits=1.0, **keys):
        data = composed("data=mix", "data.parts.shakespeare=1").data
        data.parts = dict(zip(files, (letters, digits), strict=True))
        for key, value in keys.items():
            setattr(data, key, value)
        return data

    return build


def loaded(data, block_size=4):
    return load_corpus(data, CharTokenizerConfig(name="char"), block_size)


def test_each_part_has_its_share_of_the_rows_and_of_the_rows_before_any():
    turns = Turns([0.7, 0.2999, 0.0001, 1e-9], seed=0)
    assert turns.counts.sum() == BLOCK and turns.counts.min() == 1
    assert np.abs(turns.counts / BLOCK - [0.7, 0.2999, 0.0001, 0]).max() < 1e-4
    rows = turns.of_rows(0, 2 * BLOCK + 50)
    for row in (0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 7, 2 * BLOCK + 50):
        assert turns.before(row).tolist() == np.bincount(rows[:row], minlength=4).tolist()
    assert rows[:BLOCK].tolist() != rows[BLOCK : 2 * BLOCK].tolist()
    assert abs(np.mean(rows[:2000] == 0) - 0.7) < 0.05  # in no part of it are they sorted


def test_a_batch_follows_from_seed_and_step_and_ranks_share_it(mixed):
    text = loaded(mixed())
    whole = [text.corpus(12, 5, CPU).batch(step) for step in range(6)]
    corpus = text.corpus(12, 5, CPU)
    for step in (4, 0, 5):
        ranks = [corpus.batch(step, rank, 3) for rank in range(3)]
        for number, batch in enumerate(ranks):
            assert torch.equal(batch.inputs, whole[step].inputs[number::3])
            assert torch.equal(batch.targets, whole[step].targets[number::3])
    assert len(corpus.batch(0, 12, 13).inputs) == 0  # more ranks than rows
    other = text.corpus(12, 6, CPU).batch(4)
    assert not torch.equal(other.inputs, whole[4].inputs)


def test_rows_come_from_the_parts_by_their_shares(mixed):
    text = loaded(mixed())
    corpus, found = text.corpus(16, 0, CPU), Counter()
    for step in range(100):
        for row in corpus.batch(step).inputs.tolist():
            found["digits" if text.tokenizer.decode(row).strip()[0].isdigit() else "letters"] += 1
    assert 0.70 < found["letters"] / 1600 < 0.80
    epochs = corpus.epochs(100)
    assert epochs["letters"] == found["letters"] * 4 / corpus.parts["letters"].tokens_per_epoch(
        "train"
    )


@pytest.mark.parametrize("documents", [False, True])
def test_each_row_of_a_part_comes_once_an_epoch(mixed, documents):
    data = mixed(documents=documents, sampling=Windows.random if documents else Windows.epoch)
    text = loaded(data, block_size=9)
    corpus = text.corpus(7, 0, CPU)
    own = corpus.parts["letters"]
    count = int(own.rows_per_epoch("train"))
    rows, step = [], 0
    while len(rows) < count:
        batch = corpus.batch(step)
        rows += [row for row in batch.inputs.tolist() if "a" in text.tokenizer.decode(row)]
        step += 1
    expected = own.drawn(0, np.arange(len(rows)), slice(None)).inputs.tolist()
    assert [row[: len(expected[0])] for row in rows] == expected
    assert corpus.tokens_seen(step) == sum(
        int((corpus.batch(number).targets >= 0).sum()) for number in range(step)
    )


def test_a_part_without_a_share_is_judged_and_known_but_never_trained_on(mixed):
    text = loaded(mixed(digits=0.0))
    corpus = text.corpus(8, 0, CPU)
    assert set("09") <= set(text.tokenizer.characters)
    seen = torch.cat([corpus.batch(step).inputs.flatten() for step in range(20)])
    assert not set(text.tokenizer.decode(seen.tolist())) & set("0123456789")
    assert [name for name, *_ in corpus.portions("val")] == ["digits", "letters"]
    assert [name for name, *_ in corpus.portions("train")] == ["letters"]
    assert corpus.epochs(3).keys() == {"letters"}


def test_of_training_as_much_is_judged_as_of_validation_part_by_part(mixed):
    corpus = loaded(mixed()).corpus(8, 0, CPU)
    limit = corpus.tokens_per_epoch("val")
    for name, own, cap in corpus.portions("train", limit, 40):
        assert (own, cap) == (corpus.parts[name].tokens_per_epoch("val"), 20)
    judged = sum(batch.targets.numel() for batch in corpus.windows("val", 8))
    assert judged == corpus.targets("val")


def test_each_part_is_cut_by_itself_and_shares_are_normalised(mixed):
    data = mixed(val_fraction=0.25, fraction=0.5)
    text = loaded(data)
    assert text.splits.bounds["letters/val"] == (270, 360)
    assert text.splits.bounds["digits/val"] == (825, 1100)
    assert len(text.parts["letters"].splits.train) == 135
    assert shares(data) == {"digits": 0.25, "letters": 0.75}
    words = text.describe()
    assert "letters 75.0% of training: 135 train, 90 val" in words


def test_an_entry_of_conf_is_cut_as_it_says(composed):
    data = composed("data=mix", "data.parts={shakespeare: 1, dictionary: 1}").data
    sections = parts_of(data)
    assert {name: part.val_fraction for name, part in sections.items()} == {
        "dictionary": 0.01,
        "shakespeare": 0.1,
    }
    assert sections["shakespeare"].asset == "tinyshakespeare"


def test_the_digest_is_of_the_content_of_all_parts(mixed, files):
    before = corpus_digest(mixed())
    assert corpus_digest(mixed(letters=9.0)) == before  # shares are hashed by themselves
    Path(files[1]).write_text(DIGITS + "1")
    assert corpus_digest(mixed()) != before


def test_what_is_no_corpus_or_another_kind_is_one_line(composed, mixed, files, tmp_path):
    data = composed("data=mix", "data.parts.shakspeare=1").data
    line = refusal(parts_of, data)
    assert "data.parts.shakspeare: no corpus that conf/data names" in line
    assert "those are dictionary, names, shakespeare. Fix" in line  # and dialogues are no part
    assert "dictionary, names, shakespeare. Fix: " in line
    data = composed("data=mix", "data.parts={shakespeare: 1, names: 1}").data
    assert "data.parts.names: is documents, and data.documents=false" in refusal(parts_of, data)
    twin = tmp_path / "twin"
    twin.mkdir()
    data = mixed()
    data.parts[str(twin / "letters.md")] = 1.0
    assert "two parts are called letters" in refusal(parts_of, data)
