"""`gptexp sample`: texts as they are drawn, one below another."""

import os
import sys

import pytest

import gptexp as package
from gptexp.cli.texts import show_texts
from gptexp.inference.load import LoadedRun
from gptexp.inference.texts import Piece

GROWING = [
    *(Piece(0, "to", False), Piece(1, "be", False), Piece(2, "or", False)),
    *(Piece(0, " a", False), Piece(1, " b", False), Piece(2, " c", True)),
    *(Piece(0, "!", True), Piece(1, "?", False), Piece(1, "", True)),
]


def test_the_first_text_is_shown_as_it_grows_and_the_others_in_their_turn(capsys):
    shown = []

    def pieces():
        for piece in GROWING:
            yield piece
            shown.append(capsys.readouterr().out)

    show_texts(pieces(), 3, headed=True)
    assert shown[:4] == ["--- 1 of 3 ---\nto", "", "", " a"]
    assert shown[6] == "!\n--- 2 of 3 ---\nbe b"
    assert shown[7:] == ["?", "\n--- 3 of 3 ---\nor c\n"]


def test_texts_that_are_a_line_each_have_no_heads(capsys):
    show_texts(GROWING, 3, headed=False)
    assert capsys.readouterr().out == "to a!\nbe b?\nor c\n"


def test_what_commands_a_terminal_is_spelled_out_as_it_comes(capsys):
    show_texts([Piece(0, "a\x1b[2J", False), Piece(0, "\u202e\r", True)], 1, headed=True)
    assert capsys.readouterr().out == "a\\x1b[2J\\u202e\\x0d\n"


def breaking_off(monkeypatch, error, after):
    """The texts of runs end in an error after so many pieces."""
    stream = LoadedRun.stream

    def broken(self, *given):
        for number, piece in enumerate(stream(self, *given)):
            yield piece
            if number == after:
                raise error

    monkeypatch.setattr(LoadedRun, "stream", broken)


def test_ctrl_c_shows_what_there_is_and_ends_by_the_code_of_an_interruption(
    finished, gptexp, monkeypatch
):
    words = ["sample", finished, "--prompt", "to", "--num", 2, "--tokens", 9]
    whole = gptexp(*words)
    breaking_off(monkeypatch, KeyboardInterrupt, after=7)
    result = gptexp(*words)
    assert (result.code, result.err) == (130, "")
    first, second = (text.partition(" ---\n")[2] for text in whole.out.split("--- ")[1::1])
    assert result.out == f"--- 1 of 2 ---\n{first[:5]}\n--- 2 of 2 ---\n{second[:5]}\n"


def test_a_reader_that_has_enough_ends_the_drawing_without_a_word(finished, gptexp, monkeypatch):
    breaking_off(monkeypatch, BrokenPipeError, after=7)
    result = gptexp("sample", finished, "--prompt", "to", "--tokens", 9)
    assert (result.code, result.err) == (0, "")


def test_several_prompts_have_the_texts_that_each_has_alone(finished, gptexp):
    words = ["--num", 2, "--tokens", 20, "--seed", 3]
    several = gptexp("sample", finished, "--prompt", "to be", "--prompt", "or", *words)
    alone = [gptexp("sample", finished, "--prompt", prompt, *words) for prompt in ("to be", "or")]
    texts = package.load(finished).sample(["to be", "or"], num=2, tokens=20, seed=3)
    heads = [f"--- {number} of 4 ---\n" for number in range(1, 5)]
    assert several.out == "".join(f"{h}{t}\n" for h, t in zip(heads, texts, strict=True))
    assert [text in one.out for one in alone for text in texts] == [True] * 2 + [False] * 4 + [
        True
    ] * 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--top-p", 0], "top-p: 0.0 is not in (0, 1]. Fix: 0.9; 1 leaves all in"),
        (["--min-p", 2], "min-p: 2.0 is not in [0, 1]. Fix: 0.05; 0 leaves all in"),
        (["--repetition-penalty", 0], "is not in [0.1, 10]. Fix: 1.2; 1 is none"),
        (["--stop", ""], "stop: a text would end before it began. Fix: one character or more"),
        (["--num", 600_000, "--prompt", "a", "--prompt", "b"], "num: 1200000 is more than"),
        (["--interactive", "--num", 3], "--num: 3 texts, and --interactive draws one at a time"),
        (["--interactive", "--seed", -1], "seed: -1 is not in"),
    ],
    ids=str,
)
def test_a_dial_out_of_its_range_is_one_line(finished, gptexp, words, error):
    result = gptexp("sample", finished, *words)
    assert result.code == 2 and result.out == ""
    [line] = result.errors
    assert error in line


@pytest.mark.slow
def test_the_dials_reach_the_draws(finished, gptexp):
    words = ["--top-k", 5, "--top-p", 0.9, "--min-p", 0.8, "--repetition-penalty", 1.3]
    shown = gptexp("sample", finished, "--prompt", "to", "--stop", "z", "--stop", "o n", *words)
    dials = {"top_k": 5, "top_p": 0.9, "min_p": 0.8, "repetition_penalty": 1.3}
    run = package.load(finished)
    assert [shown.out.removesuffix("\n")] == run.sample("to", stop=["z", "o n"], **dials)
    for name, value in dials.items():
        assert run.sample("to", **{name: value}) != run.sample("to"), name


def test_text_appears_on_a_pipe_before_all_of_it_is_drawn(finished, gptexp, monkeypatch):
    """So `| head` ends a long text early, and Ctrl-C leaves what there is."""
    reading, writing = os.pipe()
    seen = []
    stream = LoadedRun.stream

    def watched(self, *given):
        for piece in stream(self, *given):
            yield piece
            seen.append(os.read(reading, 100))

    monkeypatch.setattr(LoadedRun, "stream", watched)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert gptexp("sample", finished, "--prompt", "to", "--tokens", 3).code == 0
    os.close(reading)
    assert seen[0] == b"to" and len(seen) >= 4
