"""`gptexp chat RUN`: questions that are typed or piped, and their answers."""

import io
import sys

import pytest
from chat_runs import ANSWERS

import gptexp as package
from gptexp.data.conversations import ASSISTANT, USER, Message
from gptexp.inference.dials import Sampling
from gptexp.inference.reply import reply


@pytest.fixture
def typed(chat_run, gptexp, monkeypatch):
    """`typed("a", "/quit")`: what comes of these lines on standard input."""

    def call(*lines, verb=("chat",), run=chat_run):
        data = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        return gptexp(verb[0], run, *verb[1:])

    return call


@pytest.fixture
def answered(chat_run):
    """`answered("a", "c")`: the greedy answers to these questions in one conversation."""
    run, sampling = package.load(chat_run), Sampling(0.0, None, 0)

    def call(*questions):
        messages, answers = [], []
        for question in questions:
            asked = [*messages, Message(USER, question)]
            messages, pieces = reply(run, asked, sampling, 500)
            answers.append("".join(piece.added for piece in pieces))
            messages = [*messages, Message(ASSISTANT, answers[-1])]
        return answers

    return call


@pytest.mark.slow
def test_each_line_has_its_answer_on_a_line(typed, answered):
    result = typed("a", "", "c")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == answered("a", "c")
    assert set(result.out.splitlines()) <= set(ANSWERS.values())


def test_interactive_sampling_of_such_a_run_is_the_same(typed):
    greedy = ("sample", "--interactive", "--temperature", "0")
    assert typed("a", "c", verb=greedy).out == typed("a", "c").out


def test_a_prompt_is_a_question(typed, answered, gptexp, chat_run):
    told = gptexp("sample", chat_run, "--prompt", "a", "--temperature", "0")
    assert (told.out, told.err) == (f"{answered('a')[0]}\n", "")
    nothing = gptexp("sample", chat_run)
    assert nothing.errors == [
        "prompt: none is given, and this run answers questions. Fix: a question"
    ]


def test_a_full_context_forgets_the_oldest_question_and_says_so(typed, answered):
    questions = ["a", "c", "e", "a", "c", "e"]
    result = typed(*questions)
    assert result.out.splitlines() == answered(*questions)
    notes = result.err.splitlines()
    assert notes
    note = "gptexp: warning: the context of 24 tokens is full: 1 question of the beginning left out"
    assert all(each.startswith(note) for each in notes)


def test_a_reset_begins_anew_with_the_heading_that_was_given(typed):
    heading = ("chat", "--system", "hm")
    first = typed("a", verb=heading).out
    assert typed("a", "/reset", "a", verb=heading).out == first * 2


def test_what_is_wrong_is_one_line_and_the_conversation_goes_on(typed, answered):
    result = typed("a" * 30, "/temperature hot", "/now", "a\x02", "a")
    assert result.out.splitlines() == answered("a")
    assert len(result.errors) == 4
    assert result.errors[2].startswith("chat: /now is not known")
    assert result.code == 0


def test_a_dial_is_turned_and_quit_ends(typed):
    assert typed("/help", "/tokens 1", "e", "/quit", "a").out.splitlines()[-1] == "f"


def test_a_run_of_a_text_is_refused(typed, finished):
    line = typed("a", run=finished).errors
    assert len(line) == 1
    assert "was trained on data=text, whose texts it continues" in line[0]


def test_a_heading_that_is_none_is_refused(typed):
    assert (
        typed("a", verb=("chat", "--system", "\x01")).errors[0].startswith("prompt: holds U+0001")
    )
