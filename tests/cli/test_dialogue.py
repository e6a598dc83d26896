"""`gptexp sample RUN --interactive`: lines that are typed, and what they bring."""

import builtins
import io
import sys

import pytest

import gptexp as package
from gptexp.cli import dialogue
from gptexp.cli.dialogue import DIALS, OFF, Dialogue
from gptexp.inference.dials import Sampling
from gptexp.inference.load import LoadedRun


@pytest.fixture
def typed(finished, gptexp, monkeypatch):
    """`typed("to be", "/quit", tokens=5)`: what comes of these lines on standard input."""

    def call(*lines, **options):
        words = [f"--{name}={value}" for name, value in {"tokens": 9, **options}.items()]
        data = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        return gptexp("sample", finished, "--interactive", *words)

    return call


@pytest.fixture
def drawn(finished):
    """`drawn("to be", seed=1)`: the text as `sample` draws it."""
    run = package.load(finished)
    return lambda prompt=None, **dials: run.sample(prompt, **{"tokens": 9, **dials})[0]


def test_a_line_is_continued_and_the_next_goes_on_from_there(typed, drawn):
    first = drawn("to be")
    then = drawn(f"{first}\nor", seed=1)
    on = drawn(then, seed=2)
    result = typed("to be", "or", "")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{first}\n{then[len(first) + 1 :]}\n{on[len(then) :]}\n"


def test_an_empty_line_at_the_begin_is_a_text_from_nothing(typed, drawn):
    assert typed("").out == f"{drawn()}\n"


def test_a_reset_forgets_the_text_and_a_seed_brings_it_again(typed, drawn):
    first, again = drawn("to be"), drawn("to be", seed=1)
    result = typed("to be", "/reset", "to be", "/reset", "/seed 0", "to be")
    assert result.out == f"{first}\n{again}\n{first}\n"
    assert first != again


@pytest.mark.parametrize(
    ("line", "dials"),
    [
        ("/temperature 0", {"temperature": 0}),
        ("/temperature 1.7", {"temperature": 1.7}),
        ("/top-k 3", {"top_k": 3}),
        ("/top_k 3", {"top_k": 3}),
        ("/temp 0", {"temperature": 0}),
        ("/top-p 0.5", {"top_p": 0.5}),
        ("/min-p 0.8", {"min_p": 0.8}),
        ("/repetition-penalty 3", {"repetition_penalty": 3}),
        ("/stop e", {"stop": "e"}),
        ("/stop \\n", {"stop": "\n"}),
        ("/tokens 3", {"tokens": 3}),
        ("/seed 12", {"seed": 12}),
    ],
)
def test_a_dial_is_turned_on_the_way(typed, drawn, line, dials):
    text = drawn("to be", tokens=40)
    assert typed(line, "to be", tokens=40).out == f"{drawn('to be', **{'tokens': 40, **dials})}\n"
    assert drawn("to be", **{"tokens": 40, **dials}) != text


def test_off_takes_a_dial_back(typed, drawn):
    lines = [f"/{name.replace('_', '-')} off" for name in OFF]
    options = {"top-k": 2, "top-p": 0.5, "min-p": 0.4, "repetition-penalty": 3, "stop": "e"}
    assert typed(*lines, "to be", **options).out == f"{drawn('to be')}\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/temperature -1", "temperature: -1 is not a finite number of at least 0. Fix: 0.8"),
        ("/temperature hot", "temperature: 'hot' is not a finite number of at least 0. Fix: 0.8"),
        ("/temperature off", "temperature: 'off' is not a finite number of at least 0. Fix: 0.8"),
        ("/temperature", "temperature: '' is not a finite number of at least 0. Fix: 0.8"),
        ("/top-k 2.5", "top-k: 2.5 is no whole number. Fix: top-k of 1 or more"),
        ("/tokens 0", "tokens: 0 is below 1. Fix: tokens of 1 or more"),
        ("/stop", "stop: a text would end before it began. Fix: one character or more"),
        (
            "/temprature 1",
            "--interactive: /temprature is not known. Fix: did you mean /temperature?",
        ),
        ("/top 1", "--interactive: /top may be /top-k or /top-p. Fix: type more of it"),
        ("/t 1", "--interactive: /t may be /tokens or /temperature or /top-k or /top-p. Fix: "),
        ("/", "--interactive: / is not known. Fix: use one of /tokens, "),
        ("né", "text: the character vocabulary does not have 'é' (U+00E9). Fix: "),
        ("n\udcff", "text: the character vocabulary does not have '\\udcff' (U+DCFF). Fix: "),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(typed, drawn, line, error):
    first = drawn("to be")
    result = typed("to be", line, "")
    assert result.code == 0
    [told] = result.errors
    assert told.startswith(error)
    assert result.out == f"{first}\n{drawn(first, seed=1)[len(first) :]}\n"


def test_help_names_each_dial_with_its_value_within_80_columns(typed):
    shown = typed("/stop \\n", "/help", seed=7).out.splitlines()
    assert [line.split()[0] for line in shown] == [
        *(f"/{name.replace('_', '-')}" for name in DIALS),
        *("/reset", "/help", "/quit"),
    ]
    assert max(map(len, shown)) < 80
    values = {line.split()[0]: line.split()[1] for line in shown}
    assert [values[f"/{name}"] for name in ("tokens", "top-k", "stop", "seed")] == [
        *("9", "off", "\\n", "7")
    ]


def test_a_prompt_of_the_command_line_is_answered_first_and_quit_ends(typed, drawn):
    first = drawn("to be")
    assert typed("/quit", "or", prompt="to be").out == f"{first}\n"


def test_each_line_begins_a_document_of_its_own(finished, monkeypatch, capsys):
    run = package.load(finished)
    run.config.data.documents = True
    talk = Dialogue(run, Sampling(0.8, None, 0), 9)
    for line in ("to", "to"):
        talk.take(line)
    assert talk.text == ""
    texts = [run.sample("to", tokens=9, seed=seed)[0] for seed in (0, 1)]
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in texts)


class Typist:
    """A terminal at which lines are typed and keys pressed."""

    def __init__(self, *keys):
        self.keys, self.prompts = list(keys), []

    def __call__(self, prompt):
        self.prompts.append(prompt)
        key = self.keys.pop(0) if self.keys else EOFError
        if isinstance(key, str):
            return key
        raise key


@pytest.fixture
def at_a_terminal(finished, monkeypatch, capsys):
    """`at_a_terminal(*keys)`: the code and the output of a dialogue on a terminal."""

    def call(*keys, on_terminal=True):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal, raising=False)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        monkeypatch.setattr(sys.stdin, "isatty", lambda: on_terminal, raising=False)
        monkeypatch.setattr(builtins, "input", Typist(*keys))
        code = dialogue.talk(package.load(finished), Sampling(0.8, None, 0), 9, [])
        return code, capsys.readouterr().out.removeprefix(f"{dialogue.GREETING}\n")

    return call


def test_ctrl_d_ends_a_dialogue_on_a_line_of_its_own(at_a_terminal, drawn):
    assert at_a_terminal("to be") == (0, f"{drawn('to be')}\n\n")
    assert at_a_terminal(on_terminal=False) == (0, "")


def test_ctrl_c_breaks_off_a_line_on_a_terminal_and_all_of_a_pipe(at_a_terminal, drawn):
    text = drawn("to be")
    assert at_a_terminal(KeyboardInterrupt, "to be", "/quit") == (0, f"\n{text}\n")
    assert at_a_terminal(KeyboardInterrupt, "to be", on_terminal=False) == (130, "\n")


def test_ctrl_c_breaks_off_an_answer_and_keeps_what_there_is(at_a_terminal, drawn, monkeypatch):
    text, stream = drawn("to be"), LoadedRun.stream

    def broken(self, prompts, *given):
        for number, piece in enumerate(stream(self, prompts, *given)):
            yield piece
            if number == 3 and prompts == ["to be"]:
                raise KeyboardInterrupt

    monkeypatch.setattr(LoadedRun, "stream", broken)
    code, out = at_a_terminal("to be", "", "/quit")
    there = text[: len("to be") + 3]
    assert (code, out) == (0, f"{there}\n{drawn(there, seed=1)[len(there) :]}\n")
