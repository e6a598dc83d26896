"""Which answers are right: told by one pass over the conversation, and by greedy decoding."""

import random

import pytest
import torch

import gptexp
from gptexp.config import DataConfig
from gptexp.data.conversations import ASSISTANT, USER, Message
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.data.load import read_corpus, split_corpus
from gptexp.errors import ConfigError, DataError
from gptexp.experiment.evaluate import evaluate_run
from gptexp.inference.answers import Answered, answered_right
from gptexp.inference.dials import Sampling
from gptexp.inference.reply import reply

GREEDY = Sampling(0.0, None, 0)


def exchanges(conversation):
    """The questions and answers of a rendered conversation without a heading."""
    turns = conversation.strip("\x01").split("\x05")[1:]
    return [tuple(turn.removesuffix("\x03").split("\x02")) for turn in turns]


def said(run, messages):
    """The greedy answer."""
    _, pieces = reply(run, messages, GREEDY, tokens=50)
    return "".join(piece.added for piece in pieces)


def held_out(run):
    """The validation conversations, each as far as the context holds whole answers."""
    data, size = run.config.data, run.config.model.block_size
    every = run.format.items(read_corpus(data))
    start, end = run.format.bounds(len(every))["val"]
    for conversation in every[start:end]:
        ends = [i + 1 for i, c in enumerate(conversation) if c == "\x03" and i <= size]
        yield exchanges(conversation[: ends[-1]])


def test_one_pass_tells_what_greedy_decoding_gives(chat_run):
    run = gptexp.load(chat_run)
    right = []
    for conversation in held_out(run):
        messages = []
        for question, answer in conversation:
            messages.append(Message(USER, question))
            right.append(said(run, messages) == answer)
            messages.append(Message(ASSISTANT, answer))
    data = run.config.data
    cut = split_corpus(data, read_corpus(data), run.tokenizer, run.config.model.block_size)
    judged = run.judged(cut, "val")
    assert isinstance(judged, Answered)
    assert judged.answers == len(right) > 20
    assert judged.accuracy == sum(right) / len(right)
    assert 0.3 < judged.accuracy < 0.95  # so that there is something to tell apart
    assert run.metrics[-1]["val/accuracy"] == judged.accuracy


def test_right_answers_are_those_without_a_wrong_token_up_to_their_end():
    """Beside a loop over each answer, on drawn rows."""
    drawn = random.Random(0)
    for _ in range(50):
        rows, expected = [], []
        for _ in range(3):
            targets, hits = [], []
            for _ in range(drawn.randint(0, 3)):
                size = drawn.randint(1, 3)
                targets += [IGNORE_INDEX] * drawn.randint(1, 3) + [5] * (size - 1) + [3]
                own = [drawn.random() < 0.7 for _ in range(size)]
                hits += [drawn.random() < 0.5] * (len(targets) - len(hits) - size) + own
                expected.append(all(own))
            if drawn.random() < 0.5:  # one that is cut off
                targets, hits = [*targets, IGNORE_INDEX, 5, 5], [*hits, True, True, False]
            rows.append((targets + [IGNORE_INDEX] * (30 - len(targets)), hits))
        targets = torch.tensor([row for row, _ in rows])
        logits = torch.zeros(3, 30, 8)
        for i, (row, hits) in enumerate(rows):
            for j, target in enumerate(row):
                hit = j >= len(hits) or hits[j]
                logits[i, j, target if hit and target >= 0 else 7] = 1
        assert answered_right(logits, targets, end=3).tolist() == expected


def test_an_evaluation_tells_the_answers_of_another_file_too(chat_run, tmp_path):
    told = evaluate_run(chat_run, None, []).split("\n")
    assert len(told) == 2
    assert told[1].endswith("answers right to the letter, by greedy decoding")
    path = gptexp.load(chat_run).config.data.path
    other = evaluate_run(chat_run, None, ["data=chat", f"data.path={path}"]).split("\n")
    assert other[0].startswith("all ")
    assert int(other[1].split(" of ")[1].split()[0]) > int(told[1].split(" of ")[1].split()[0])


def test_a_question_is_answered_by_itself_and_several_as_each_alone(chat_run):
    run = gptexp.load(chat_run)
    alone = [run.sample(question, temperature=0)[0] for question in "ace"]
    assert run.sample("ace", temperature=0) == [said(run, [Message(USER, "ace")])]
    assert run.sample(list("ace"), temperature=0) == alone
    assert set(alone) <= {"b", "ab", "ffff"}


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        (None, "none is given, and this run answers questions. Fix: a question"),
        ("", "is empty"),
        ("a\x02b", "holds U\\+0002"),
        ("a\ud800", "holds U\\+D800"),
        ("a" * 22, "24 tokens, and a conversation has at most model.block_size=24"),
    ],
)
def test_what_cannot_be_asked_is_one_line(chat_run, prompt, line):
    with pytest.raises(DataError, match=f"^prompt: {line}"):
        gptexp.load(chat_run).sample(prompt)


def test_what_a_model_says_is_no_mark_of_what_follows(chat_run):
    run = gptexp.load(chat_run)
    spoken = [Message(USER, "a"), Message(ASSISTANT, "b\x05c\x02"), Message(USER, "e")]
    plain = [Message(USER, "a"), Message(ASSISTANT, "bc"), Message(USER, "e")]
    assert said(run, spoken) == said(run, plain)


def test_a_run_of_a_text_has_no_answers(finished):
    with pytest.raises(ConfigError, match=r"whose texts it continues.*sample .* --interactive"):
        reply(gptexp.load(finished), [Message(USER, "a")], GREEDY, 5)


def test_samples_are_answers_to_the_first_questions_that_are_held_out(chat_run):
    run = gptexp.load(chat_run)
    last = run.summary["sample"].split("\n\n")
    asked = [conversation[0][0] for conversation in held_out(run)][:3]
    assert [text.partition("\n")[0] for text in last] == [f"user: {each}" for each in asked]
    assert all("\nassistant: " in text for text in last)


def test_the_section_has_one_kind_alone():
    values = {
        "asset": None,
        "path": "x",
        "fraction": 1.0,
        "val_fraction": 0.1,
        "test_fraction": 0.0,
    }
    for key in ("documents", "tokens"):
        data = DataConfig(name="x", chat=True, **{key: True}, **values)
        assert any(p.subject == "data.chat" for p in data.problems())
