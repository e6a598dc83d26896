"""N-gram losses: against the formula with dictionaries, by hand, and as a distribution."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from document_lines import settings as document_settings
from text_files import settings as text_settings

from gptexp.analysis import ngrams
from gptexp.data.corpus import Splits
from gptexp.data.documents import Documents
from gptexp.data.load import LoadedText
from gptexp.data.text import Text
from gptexp.experiment import finish
from gptexp.tokenizers.char import CharTokenizer

NOTHING = "nothing"  # before the beginning of an array


def ids(*tokens):
    return np.array(tokens, dtype=np.int64)


def draw(seed, length, vocab_size):
    """Tokens that depend on the one before, so that contexts come back."""
    generator = np.random.default_rng(seed)
    tokens = [0]
    for _ in range(length - 1):
        stays = generator.random() < 0.5
        tokens.append(tokens[-1] if stays else int(generator.integers(vocab_size)))
    return ids(*tokens[:length])


def context(tokens, place, length, boundary):
    """The tokens before `place`, the nearest first."""
    found = []
    for distance in range(1, length + 1):
        if found and found[-1] == boundary is not None:
            found.append(boundary)
        else:
            found.append(tokens[place - distance] if distance <= place else NOTHING)
    return tuple(found)


class Slow:
    """P_n by its definition, one token at a time."""

    def __init__(self, train, vocab_size, boundary=None):
        self.vocab_size, self.boundary = vocab_size, boundary
        self.after = defaultdict(Counter)  # of each context, what followed it
        for place, token in enumerate(train):
            for length in range(8):
                self.after[context(train, place, length, boundary)][token] += 1

    def p(self, token, before):
        """Of the token after `before`; of order len(before) + 1."""
        shorter = self.p(token, before[:-1]) if before else 1 / self.vocab_size
        if before not in self.after:
            return shorter
        counts = self.after[before]
        c, u = counts.total(), len(counts)
        return (counts[token] + u * shorter) / (c + u)

    def loss(self, val, order):
        terms = [
            -math.log(self.p(val[place], context(val, place, order - 1, self.boundary)))
            for place in range(1, len(val))
        ]
        return sum(terms) / len(terms)


@pytest.mark.parametrize("dense", [True, False], ids=["tables", "sorted"])
@pytest.mark.parametrize("boundary", [None, 0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_losses_are_those_of_the_formula(seed, boundary, dense, monkeypatch):
    monkeypatch.setattr(ngrams, "DENSE", 2**24 if dense else 0)
    vocab_size = 3 + seed
    train, val = draw(seed, 150, vocab_size), draw(seed + 100, 60, vocab_size)
    found = ngrams.losses(train, val, vocab_size, orders=6, boundary=boundary)
    slow = Slow(train.tolist(), vocab_size, boundary)
    assert found == pytest.approx([slow.loss(val.tolist(), order) for order in range(1, 7)])


def test_losses_of_five_characters_by_hand():
    """Trained on `abab`, asked for the b and the a of `aba`, out of a vocabulary of 3."""
    # No context: 4 tokens, 2 different: (2 + 2/3) / 6 for each of a and b.
    one = (2 + 2 / 3) / (4 + 2)
    # After a came b twice; after b came a once.
    b_after_a, a_after_b = (2 + one) / (2 + 1), (1 + one) / (1 + 1)
    # Before the a of val stands nothing but its b and a; in train `ab` was followed by a, once.
    # Before the b stand nothing and a, as at the beginning of train.
    b_third, a_third = (1 + b_after_a) / (1 + 1), (1 + a_after_b) / (1 + 1)
    expected = [
        -math.log(one),
        -(math.log(b_after_a) + math.log(a_after_b)) / 2,
        -(math.log(b_third) + math.log(a_third)) / 2,
    ]
    found = ngrams.losses(ids(0, 1, 0, 1), ids(0, 1, 0), 3, orders=3)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("boundary", [None, 0])
def test_probabilities_of_all_tokens_sum_to_one_after_any_context(boundary):
    train, before = draw(7, 90, 4), draw(8, 6, 4)

    def log_p(token):
        """Of the last token, after `before`: the difference that it makes to the sum."""
        whole = ngrams.losses(train, np.append(before, token), 4, boundary=boundary)
        start = ngrams.losses(train, before, 4, boundary=boundary)
        return np.array(start) * (len(before) - 1) - np.array(whole) * len(before)

    assert sum(np.exp(log_p(token)) for token in range(4)) == pytest.approx(np.ones(5))


def test_a_context_that_was_never_seen_leaves_the_shorter_one():
    train = ids(0, 1, 0, 1, 0, 1)
    uniform, second = ngrams.losses(train, ids(2, 2, 2), 3, orders=2)
    assert second == uniform == pytest.approx(-math.log((0 + 2 / 3) / (6 + 2)))
    assert ngrams.losses(ids(), ids(1, 0, 2), 3) == pytest.approx([math.log(3)] * 5)


def test_no_order_sees_what_comes_later_or_is_counted_from_the_validation_text():
    train, val = draw(1, 80, 4), draw(2, 30, 4)
    other = val.copy()
    other[20:] = (other[20:] + 1) % 4
    for boundary in (None, 0):
        sums = [
            np.array(ngrams.losses(train, tokens[:20], 4, boundary=boundary)) * 19
            for tokens in (val, other)
        ]
        assert np.array_equal(*sums)
    assert ngrams.losses(train, val, 4) != ngrams.losses(np.append(train, val), val, 4)


def test_the_first_character_of_a_document_sees_only_the_boundary():
    """Two texts whose second document is the same: what came before it makes no difference."""
    train = ids(0, 1, 2, 0, 1, 3, 0, 2, 1, 0)
    slow = [
        np.array(ngrams.losses(train, ids(*first, 0, 1, 2, 0), 4, boundary=0)) * (len(first) + 3)
        - np.array(ngrams.losses(train, ids(*first, 0), 4, boundary=0)) * len(first)
        for first in ((1, 2), (3, 3))
    ]
    assert slow[0] == pytest.approx(slow[1])
    flat = [
        np.array(ngrams.losses(train, ids(*first, 0, 1, 2, 0), 4)) * (len(first) + 3)
        - np.array(ngrams.losses(train, ids(*first, 0), 4)) * len(first)
        for first in ((1, 2), (3, 3))
    ]
    assert flat[0] != pytest.approx(flat[1])


@pytest.mark.parametrize("val", [ids(), ids(1)])
def test_without_a_target_there_is_no_loss(val):
    assert ngrams.losses(ids(0, 1), val, 2) == []


def test_a_large_vocabulary_does_not_overflow():
    train = ids(*range(49_000, 50_000), *range(49_000, 50_000))
    found = ngrams.losses(train, train[:100], 50_257, orders=6)  # a context could be 50,258 ** 5
    slow = Slow(train.tolist(), 50_257)
    assert found == pytest.approx([slow.loss(train[:100].tolist(), n) for n in range(1, 7)])


def test_equal_splits_are_counted_once(monkeypatch):
    def counted(tokenizer_name, train, val, characters="012\n", documents=False):
        splits = Splits(train, train[:0], val, {})
        reading = Documents(document_settings()) if documents else Text(text_settings())
        text = LoadedText("a.txt", reading, CharTokenizer(characters), splits, 4, "")
        return finish.count_ngrams(tokenizer_name, text)

    train, val = draw(3, 50, 4), draw(4, 20, 4)
    first = counted("char", train, val)
    assert first == ngrams.losses(train, val, 4)
    monkeypatch.setattr(ngrams, "losses", lambda *_, **__: ["anew"])
    assert counted("byte", train.copy(), val.copy()) == first
    assert counted("char", train[:-1], val) == ["anew"]
    assert counted("char", train, val[:-1]) == ["anew"]
    assert counted("char", train, val, characters="0123\n") == ["anew"]
    # The same tokens in the same order, cut elsewhere, and documents.
    assert counted("char", np.append(train, val[:1]), val[1:]) == ["anew"]
    assert counted("char", train, val, documents=True) == ["anew"]
    assert counted("syllables", train, val) is None  # of own code
    monkeypatch.setattr(finish, "MOST_COUNTED", 69)
    assert counted("char", train, val) is None


def test_of_a_document_that_is_cut_the_targets_of_the_evaluation_are_judged():
    """As the format's mask says, and with the contexts of the whole array."""
    flat = ids(3, 0, 1, 2, 0, 3, 1, 1, 3, 2, 3)  # of lengths 4, 2, 1, between line breaks
    reading, tokenizer = Documents(document_settings()), CharTokenizer("012\n")
    mask = reading.target_mask(flat, tokenizer, 2)
    assert mask.nonzero()[0].tolist() == [1, 2, 6, 7, 9, 10]
    found = ngrams.losses(flat, flat, 4, orders=1, boundary=3, target_mask=mask)
    counts = np.bincount(flat, minlength=4)
    p = (counts + 4 / 4) / (len(flat) + 4)
    assert found == pytest.approx([-np.log(p[flat[mask]]).mean()])
