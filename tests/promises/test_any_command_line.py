"""J3: verbs with whatever words and options end by a code that is documented, in lines of ours."""

import io
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import any_words
import pytest
from fuzzing import in_a_process, unshrunk
from hypothesis import example, given
from hypothesis import strategies as st
from small_runs import Result, only

DOCUMENTED = {0, 2, 4, 5, 6}  # see docs/run-directory.md; 3 and 130 take a training and a signal

RUN = "RUN"  # stands for the directory of a run that is done
VERBS = [
    *("sample", "explain", "params", "plan", "plot", "report", "evaluate", "reproduce", "export"),
    *("import", "table", "diff", "ensemble"),
]
OPTIONS = [
    *("--prompt", "--temperature", "--top-k", "--seed", "--device", "--text", "--to", "--by"),
    *("--format", "--sort", "--split", "--level", "--steps", "--file", "--from", "--help", "-h"),
    *("--top-p", "--min-p", "--repetition-penalty", "--stop", "--num", "--interactive"),
    *("--version", "-m", "--multirun", "--", "-", "--nothing", "--cfg", "--at_commit", "--counts"),
]
THINGS = [
    *(RUN, RUN, "nowhere", "/dev/null", "/dev/zero", "", "names", "text.txt", "a.png", "a.xyz"),
    *("wandb?", "microgpt", "val", "test", "json", "csv", "markdown", "step", "tokens", "seed"),
    *("model.n_embd", "best", "prefix", "cpu", "cuda:9", "0", "1", "-1", "nan", "0.5", "9" * 20),
]
WORD = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(THINGS),
    st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(THINGS)),
    any_words.TEXTS,
    any_words.OVERRIDES,
)
COMMANDS = st.builds(
    lambda verb, run, words: [verb, *run, *words],
    st.sampled_from(VERBS),
    st.sampled_from([[], [RUN]]),
    st.lists(WORD, max_size=3),
)
QUICK = COMMANDS.filter(lambda words: words[0] not in ("report", "plot", "plan", "reproduce"))
TYPEABLE = COMMANDS.filter(any_words.can_be_typed)


@pytest.fixture
def called(finished: Path, monkeypatch, gptexp) -> Callable[[list[str]], Result]:
    """`called(["table", RUN])`: `gptexp table ...` in this process and a folder of its own."""
    folder = finished.parents[2] / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # nobody types after --interactive
    (folder / "text.txt").write_text("to be or not to be\n" * 40)

    return lambda words: gptexp(*in_place(words, finished))


def in_place(words: list[str], run: Path) -> list[str]:
    return [word.replace(RUN, str(run)) for word in words]


def assert_documented(words: list[str], result: Result) -> None:
    """A code of the table; a refusal in lines of ours, which a terminal takes no orders from."""
    assert result.code in DOCUMENTED, (words, result.err)
    assert "Traceback" not in result.err and "a bug" not in result.err, (words, result.err)
    if result.code in (2, 4) and words[0] != "reproduce":  # which tells what it found on the way
        lines = result.err.splitlines()
        assert lines and all(line.startswith("gptexp: ") for line in lines), (words, result.err)
    assert not {"\x1b", "\x9b", "\u202e"} & {*result.err}


@example(["plan"])
@example(["params"])
@unshrunk(30)
@given(QUICK)
def test_J3_any_words_after_a_verb_end_by_a_documented_code(called, words):
    assert_documented(words, called(words))


@pytest.mark.drawn
@pytest.mark.slow
def test_J3_hundreds_of_command_lines_and_some_as_processes(called, finished):
    codes: Counter[int] = Counter()
    processes: Counter[int] = Counter()

    @unshrunk(300)
    @given(COMMANDS)
    def in_process(words):
        result = called(words)
        assert_documented(words, result)
        codes[result.code] += 1

    @unshrunk(40)
    @given(TYPEABLE)
    def as_a_process(words):
        result = in_a_process("-m", "gptexp.cli", *in_place(words, finished))
        assert_documented(words, result)
        processes[result.code] += 1

    in_process()
    as_a_process()
    print(
        f"\ncommand lines, by exit code: {dict(codes)} in process, {dict(processes)} as processes"
    )
    assert codes.total() >= 300 and processes.total() >= 40


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["sample", RUN, "--num", "9" * 20], "num: 99999999999999999999 is more than are drawn"),
        (["explain", "names", "model.n_layer=999999999"], "parameters are too many to explain"),
        (["params", "data=text", "data.path=text.txt", "trainer.max_epochs=1e300"], "more steps"),
        (
            ["plan", "data=text", "data.path=text.txt", "trainer.grad_accum=99999999999"],
            "model: training it takes at least",
        ),
    ],
)
def test_J3_what_no_machine_can_hold_is_refused_before_it_is_made(called, names, words, part):
    result = called(words)
    if words[0] == "plan":  # whose table has a row for each point, refused or not
        assert (result.code, result.err, part in result.out) == (0, "", True)
    else:
        assert result.code == 2 and part in only(result.err.splitlines())


def test_J3_a_temperature_that_float32_takes_for_0_is_0(called):
    words = ["sample", RUN, "--tokens", "9", "--temperature"]
    assert called([*words, "1e-320"]).out == called([*words, "0"]).out
