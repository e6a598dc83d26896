"""Signals that end a job: noted, and left to whom they were of before."""

import os
import signal

import pytest

from gptexp.runtime.interrupt import Interrupt, endings


@pytest.fixture
def heard():
    """What somebody else, as submitit, is told by SIGUSR2."""
    told: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: told.append(number))
    yield told
    signal.signal(signal.SIGUSR2, before)


def test_the_end_of_a_job_s_time_is_noted_and_not_told_to_who_would_end_it_at_once(heard):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert interrupt.requested == signal.SIGUSR2
        assert heard == []
    os.kill(os.getpid(), signal.SIGUSR2)
    assert heard == [signal.SIGUSR2]


def test_sigusr2_ends_nothing_where_nobody_listens_to_it():
    assert signal.SIGUSR2 not in endings()
