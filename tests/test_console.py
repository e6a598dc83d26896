"""What a person sees: the bar beside the table, and what is no error."""

import gc
import sys
import time

import pytest

from gptexp import console
from gptexp.errors import ConfigError, InterruptedRunError, Pause, Problem
from gptexp.text import duration, printable, short
from gptexp.tracking.progress import Progress


@pytest.fixture
def shown(capsys):
    """`shown()`: what the screen got since the last call, with the package's messages on it."""
    with console.shown():
        yield capsys.readouterr


def test_an_interruption_is_a_note_and_no_error(shown):
    pause = Pause("interrupted", "saved at step 7 of 20", "the same command goes on")
    assert console.fail(InterruptedRunError(2, pause)) == 130
    words = "gptexp: interrupted: saved at step 7 of 20; the same command goes on\n"
    assert shown().err == words
    assert console.fail(ConfigError(Problem("seed", "-1", "seed=0"))) == 2
    assert shown().err == "gptexp: error: seed: -1. Fix: seed=0\n"


def test_the_bar_s_time_left_is_that_of_the_column(monkeypatch, shown):
    """After a slow begin, where the latest steps alone would promise far less."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(100)
    with progress.running(0):
        bar = progress.bar
        bar._time, bar.start_t, bar.last_print_t = lambda: now[0], now[0], now[0]
        for seconds in [9.0] * 10 + [0.5] * 10:
            now[0] += seconds
            progress.step()
        left = progress._left(20)
        assert left == duration(95.0 / 20 * 80) == "6:20"
        assert f"<0{left}," in str(bar)


def test_every_mark_that_turns_a_line_around_is_spelled_out():
    """The controls of Unicode's bidirectional algorithm (UAX 9, section 2)."""
    controls = [0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    assert [printable(chr(code)) for code in controls] == [f"\\u{code:04x}" for code in controls]


@pytest.mark.parametrize(
    ("number", "digits", "words"),
    [
        (999_600, 3, "1M"),
        (999.6, 3, "1k"),
        (-999_600, 3, "-1M"),
        (999_960, 0, "1.0M"),
        (999.6, 0, "1.0k"),
        (999_400, 3, "999k"),
        (999_940, 0, "999.9k"),
        (15_872, 3, "15.9k"),
        (2e18, 3, "2e+03P"),
        (0, 3, "0"),
    ],
)
def test_a_number_that_rounds_to_a_thousand_takes_the_next_unit(number, digits, words):
    assert short(number, digits) == words


def test_a_duration_is_told_in_days_where_nobody_counts_hours():
    assert [duration(seconds) for seconds in (59.6, 7380, 3_599_999, 3_600_000)] == [
        "1:00",
        "2:03:00",
        "999:59:59",
        "42 days",
    ]
    assert duration(2.2e10) == "254,630 days"


def test_a_program_seldom_looks_for_cycles_among_the_modules_that_it_imports(monkeypatch):
    monkeypatch.setattr(gc, "set_threshold", lambda first: seen.append(first))
    seen: list[int] = []
    with pytest.raises(SystemExit):
        console.program(lambda: 0)
    assert seen == [console.GARBAGE]
    assert seen[0] > 10 * 700, "which is Python's own"
