"""Conversations in training: what of them is a target, how they are cut, split and left out."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from chats import CPU, answers_of, corpus, line, numbered, settings, split_chats

from gptexp import dialogues
from gptexp.config import BPETokenizerConfig
from gptexp.data.characters import characters as characters_of_text
from gptexp.data.chat import Chats
from gptexp.data.conversations import Message
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.errors import DataError
from gptexp.tokenizers.build import build_tokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

LINES = numbered(30)  # 27 to train on and 3 for validation


def rendered(lines):
    return Chats(settings()).normalise("\n".join(lines))


def tokenizers():
    text = rendered(LINES)
    chats = Chats(settings())
    learned = build_tokenizer(
        BPETokenizerConfig(name="bpe", vocab_size=262), text, "", chats.training_text(text)
    )
    return [ByteTokenizer(), CharTokenizer(characters_of_text(chats.cfg, text)), learned]


def rows_of(made, split="train"):
    """Each row of a split as (inputs, targets), without padding."""
    for batch in made.windows(split, 5):
        yield from zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)


@pytest.mark.parametrize("number", range(3))
def test_answers_with_their_ends_are_the_targets_and_nothing_else_is(number):
    tokenizer = tokenizers()[number]
    made, _ = corpus(LINES, tokenizer=tokenizer)
    found = [text for b in made.windows("val", 2) for text in answers_of(b, tokenizer)]
    expected = [
        "".join(
            f"{turn['content']}\x03"
            for turn in json.loads(each)["messages"]
            if "ass" in turn["role"]
        )
        for each in LINES[27:]
    ]
    assert found == expected


@pytest.mark.parametrize("number", range(3))
def test_a_row_is_a_conversation_from_its_begin_and_no_other_one(number):
    tokenizer = tokenizers()[number]
    made, _ = corpus(LINES, tokenizer=tokenizer)
    marks = Chats(settings()).marks(tokenizer)
    for batch in (made.batch(step) for step in range(8)):
        for x, y in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            last = max(i for i, target in enumerate(y) if target != IGNORE_INDEX)
            whole = tokenizer.decode([*x[: last + 1], y[last]])
            assert whole in rendered(LINES[:27])
            assert whole.startswith("\x01") and whole.count("\x01") == 1
            assert x[: last + 1].count(marks.start) == 1
            assert all(t in (IGNORE_INDEX, x[i + 1]) for i, t in enumerate(y[:last]))


def test_a_message_is_encoded_alike_wherever_it_stands():
    byte_pairs = tokenizers()[2]
    chats = Chats(settings())
    assert byte_pairs.vocab_size == 262
    ids = chats.encoded(["\x01\x05q1.0\x02answer\x03"], byte_pairs).tolist()
    answer = byte_pairs.encode("answer").tolist()
    assert len(answer) < 6  # merges have been learned
    assert ids[-1 - len(answer) : -1] == answer


def test_no_merge_is_learned_of_a_mark():
    learned = Chats(settings()).training_text(rendered(LINES))
    assert not set(learned) & set("\x01\x02\x03\x05")
    assert "q26.0" in learned and "q27.0" not in learned  # of the training part


@pytest.mark.parametrize("block_size", [18, 20, 24, 64])
def test_what_is_counted_is_what_batches_and_windows_hold(block_size):
    made, tokenizer = corpus(LINES, block_size)
    for split, ids in split_chats(LINES)[0].items():
        targets = [t for _, y in rows_of(made, split) for t in y if t != IGNORE_INDEX]
        mask = Chats(settings()).target_mask(ids, tokenizer, block_size)
        assert targets == ids[mask].tolist()
        assert made.targets(split) == made.tokens_per_epoch(split) == len(targets)
    seen = 0
    for step in range(20):
        assert made.tokens_seen(step) == seen
        batch = made.batch(step)
        assert batch.inputs.shape[1] <= block_size
        per_row = (batch.targets != IGNORE_INDEX).sum(dim=1)
        assert (per_row > 0).all()
        seen += int(per_row.sum())


def test_a_longer_one_is_cut_and_one_without_an_answer_in_the_context_is_left_out():
    lines = [line("a", "b"), line("a", "bcdef"), line("c" * 9, "d"), line("a", "b", "cccc", "dd")]
    made, tokenizer = corpus([*lines, line("v", "w")], block_size=7, rows=4, val_fraction=0.2)
    assert made.rows_per_epoch("train") == 2
    assert Counter(answers_of(made.batch(0), tokenizer)) == Counter({"b\x03": 4})
    chats = Chats(settings(val_fraction=0.2))
    text = chats.normalise("\n".join([*lines, line("v", "w")]))
    splits = chats.split(text, tokenizer, 1)
    told = chats.describe(text, tokenizer, splits, 7)
    assert told == (
        "5 conversations (0 repeat another) with 6 answers; 4 train, 1 val, 0 of them in train "
        "too; 3 longer than block_size are cut there, 2 of them before the end of an answer, and "
        "are left out"
    )


def test_a_context_without_room_for_any_answer_is_refused():
    with pytest.raises(DataError) as caught:
        corpus(LINES, block_size=3)
    assert "model.block_size: 3 is too short for an answer of train, of chats.jsonl" in str(
        caught.value
    )


def test_all_ranks_together_have_the_rows_of_one():
    made, tokenizer = corpus(LINES, rows=7)
    for step in range(3):
        whole = answers_of(made.batch(step), tokenizer)
        parts = [answers_of(made.batch(step, rank, 3), tokenizer) for rank in range(3)]
        assert [parts[i % 3][i // 3] for i in range(7)] == whole
    assert made.batch(0, rank=8, world=9).inputs.shape[0] == 0


def test_the_order_is_drawn_once_for_all_and_splits_are_nested():
    text = "\n".join(LINES)
    drawn, plain = (Chats(settings(shuffle=kind)).normalise(text) for kind in (True, False))
    assert drawn != plain
    assert Counter(drawn.split("\x01")) == Counter(plain.split("\x01"))
    whole, _ = split_chats(LINES)
    part, _ = split_chats(LINES, fraction=0.5)
    assert np.array_equal(part.train, whole.train[: len(part.train)])
    assert np.array_equal(part.val, whole.val)


def test_one_conversation_is_not_enough():
    with pytest.raises(DataError, match="holds one conversation, and training and validation"):
        split_chats([line("a", "b")])
    with pytest.raises(DataError, match=r"0\.01 leaves no conversation for train, of 30"):
        split_chats(LINES, fraction=0.01)


def test_a_tokenizer_that_does_not_know_the_marks_is_refused():
    with pytest.raises(DataError, match="the character vocabulary does not have"):
        split_chats(LINES, CharTokenizer("abc"))


def test_the_oldest_question_goes_where_the_context_is_full():
    chats, tokenizer = Chats(settings()), ByteTokenizer()
    asked = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    messages = [Message("system", "s"), *(Message(*turn) for turn in asked)]
    size = len(chats.asked(messages, tokenizer))
    assert size == 15
    for most, kept in [(15, 6), (14, 4), (10, 4), (9, 2), (1, 2)]:
        found = chats.fitting(messages, tokenizer, most)
        assert len(found) == kept
        assert (found[0].content, found[-1].content) == ("s", "e")


def test_what_is_made_asks_no_question_twice_and_answers_each():
    made = [json.loads(each)["messages"] for each in dialogues.make().decode().splitlines()]
    asked = [turn["content"] for each in made for turn in each[::2]]
    answers = [turn["content"] for each in made for turn in each[1::2]]
    assert len(made) == 600
    assert len(set(asked)) == len(asked) == len(answers) > 1000
    for question, answer in zip(asked, answers, strict=True):
        name, _, word = question.partition(" ")
        right = {"say": word, "reverse": word[::-1]}
        assert answer == (right[name] if word else str(int(name.removesuffix("+1")) + 1))
    kinds = Counter(question.partition(" ")[0] for question in asked)
    assert min(kinds["say"], kinds["reverse"]) > 300


def test_batches_are_on_the_device_as_integers():
    made, _ = corpus(LINES)
    batch = made.batch(0)
    assert batch.inputs.device == CPU
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert batch.inputs.shape == batch.targets.shape
