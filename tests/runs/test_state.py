"""States of a run, and the exit codes of the commands that end in them."""

from pathlib import Path

import pytest

from gptexp.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    GptexpError,
    InterruptedRunError,
    InUseError,
    Problem,
    PrunedError,
    StorageError,
)
from gptexp.runs.state import NOT_STARTED, RECORDED, Outcome, RunState, ended_with, state_after

PROBLEM = Problem("x", "is wrong", "mend it")


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (RunState.done, 0),
        (RunState.already_done, 0),
        (RunState.pruned, 0),
        (RunState.refused, 2),
        (RunState.diverged, 3),
        (RunState.in_use, 6),
        (RunState.interrupted, 130),
        (RunState.running, 1),
        (RunState.failed, 1),
        (RunState.killed, 1),
        (RunState.not_started, 1),
        (RunState.damaged, 1),
        (RunState.unknown, 1),
    ],
)
def test_a_state_has_the_exit_code_of_its_command(state: RunState, code: int) -> None:
    assert state.exit_code == Outcome(state).exit_code == code
    assert Outcome(state, error_code=4).exit_code == 4, "an error has its own"


def test_every_state_has_a_code_above() -> None:
    [mark] = test_a_state_has_the_exit_code_of_its_command.pytestmark
    assert {state for state, _ in mark.args[1]} == {*RunState}


def test_states_are_the_words_that_stand_in_files_and_tables() -> None:
    words = ("running", "done", "failed", "diverged", "interrupted", "pruned")
    assert {*words} == RECORDED
    assert (str(RunState.in_use), str(NOT_STARTED.state)) == ("in use", "not started")


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (ConfigError(PROBLEM), "refused", 2),
        (DataError(PROBLEM), "refused", 2),
        (CheckpointError(PROBLEM), "refused", 2),
        (GptexpError(PROBLEM), "refused", 1),
        (DivergedError(PROBLEM), "diverged", 3),
        (StorageError(PROBLEM), "failed", 4),
        (InUseError(PROBLEM), "in use", 6),
        (InterruptedRunError(2, PROBLEM), "interrupted", 130),
        (PrunedError(PROBLEM), "pruned", 0),
        (InterruptedRunError(15, PROBLEM), "interrupted", 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_is_an_outcome_with_its_state_its_line_and_its_code(
    error: GptexpError, state: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = ended_with(error, path=Path("run"))
    assert (outcome.state, outcome.exit_code, outcome.path) == (state, code, Path("run"))
    assert outcome.error == "x: is wrong. Fix: mend it"
    assert [record.getMessage() for record in caplog.records] == [outcome.error]
    certain = state_after(error, RunState.failed)
    assert certain == ("failed" if state == "refused" else state), "once training has begun"
