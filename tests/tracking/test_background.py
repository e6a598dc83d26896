"""A mirror's thread: calls that raise, hang or fall behind cost the training nothing. F2."""

import threading
import time
from collections.abc import Callable

import pytest
from fake_dashboards import HANGS, METHODS, lacking
from small_runs import only

from gptexp.tracking import background
from gptexp.tracking.background import Background

LINE = {"step": 1, "val/loss": 2.0}


def test_what_a_person_would_miss_is_all_but_the_writing_and_the_end() -> None:
    assert {*background.CONTENT, "flush", "close"} == {*METHODS}


def settled(work: Callable[[], bool]) -> None:
    """Wait until another thread has done its part."""
    deadline = time.monotonic() + HANGS
    while not work():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def soon() -> float:
    return time.monotonic() + 0.05


@pytest.mark.parametrize(
    "error", [OSError("no\nroom"), RuntimeError(""), SystemExit(1), GeneratorExit()], ids=repr
)
def test_F2_a_mirror_that_raises_is_switched_off_with_one_warning(fakes, warnings, caplog, error):
    fake = fakes("scalars", error)
    mirror = Background("Fake", fake.open)
    mirror.tell("sample", "a sample")
    for _ in range(3):
        mirror.tell("scalars", LINE)
    settled(lambda: mirror.off)
    mirror.tell("scalars", LINE)
    mirror.tell("flush")
    mirror.tell("close", 0)
    mirror.finished(time.monotonic() + HANGS)
    first_line = f"{type(error).__name__}: {error}".partition("\n")[0]
    assert warnings() == [f"Fake failed: {first_line}; it is switched off, and the run goes on"]
    assert fake.names == ["sample", "scalars", "close"]
    assert fake.exit_codes == [1]
    assert lacking(caplog) == ["Fake lacks the last 4 entries; see `gptexp export`"]


def test_F2_a_system_without_threads_left_costs_the_mirror_and_not_the_run(
    fakes, warnings, monkeypatch
):
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    mirror = Background("Fake", fakes("", None).open)
    monkeypatch.setattr(threading.Thread, "start", start)
    mirror.tell("scalars", LINE)
    mirror.tell("close", 0)
    mirror.finished(time.monotonic())
    assert "can't start new thread; it is switched off" in only(warnings())


def test_F2_an_error_of_the_last_call_is_a_warning_too(fakes, warnings, caplog):
    fake = fakes("close", ValueError("late"))
    mirror = Background("Fake", fake.open)
    mirror.tell("scalars", LINE)
    mirror.tell("close", 0)
    mirror.finished(time.monotonic() + HANGS)
    assert len(warnings()) == 1 and "ValueError: late" in warnings()[0]
    assert fake.names == ["scalars", "close"]
    assert lacking(caplog) == []


def test_F2_a_blocked_mirror_keeps_nobody_waiting(fakes, warnings, caplog):
    """What is told waits in the queue: more calls come back than the mirror ever takes."""
    fake = fakes("scalars")
    mirror = Background("Fake", fake.open)
    mirror.tell("scalars", LINE)
    assert fake.blocked.wait(HANGS)
    for _ in range(500):
        mirror.tell("scalars", LINE)
    assert fake.names == ["scalars"]
    assert warnings() == []
    fake.released.set()
    mirror.tell("close", 0)
    mirror.finished(time.monotonic() + HANGS)
    assert fake.names == ["scalars"] * 501 + ["close"]
    assert (warnings(), lacking(caplog)) == ([], [])


def test_F2_a_full_queue_switches_it_off_and_what_is_lost_is_counted(
    fakes, warnings, caplog, monkeypatch
):
    monkeypatch.setattr(background, "CAPACITY", 5)
    fake = fakes("scalars")
    mirror = Background("Fake", fake.open)
    mirror.tell("scalars", LINE)
    assert fake.blocked.wait(HANGS)
    for method in ["sample", "probe", "flush", "flush", "final"]:  # the queue's 5
        mirror.tell(method, None)
    assert warnings() == []
    for method in ["scalars", "sample", "flush", "close"]:
        mirror.tell(method, None)
    assert warnings() == ["Fake is 5 calls behind; it is switched off, and the run goes on"]
    mirror.finished(soon())
    assert len(warnings()) == 1
    # The one that blocks, three that wait and two that found no room; flush and close carry none.
    assert lacking(caplog) == ["Fake lacks the last 6 entries; see `gptexp export`"]


@pytest.mark.parametrize("where", ["scalars", "open"])
def test_F2_a_call_that_takes_too_long_switches_it_off(fakes, warnings, caplog, monkeypatch, where):
    fake = fakes(where)
    mirror = Background("Fake", fake.open)
    mirror.tell("flush")  # has it opened
    if where == "scalars":
        mirror.tell("scalars", LINE)
    assert fake.blocked.wait(HANGS)
    monkeypatch.setattr(background, "PATIENCE", 0.0)
    time.sleep(0.01)
    mirror.tell("sample", None)
    mirror.tell("sample", None)
    assert warnings() == [
        "Fake has not answered for 0 seconds; it is switched off, and the run goes on"
    ]
    mirror.finished(soon())
    assert len(warnings()) == 1
    lost = 3 if where == "scalars" else 2
    assert lacking(caplog) == [f"Fake lacks the last {lost} entries; see `gptexp export`"]
    fake.released.set()
    settled(lambda: "close" in fake.names)
    assert fake.exit_codes == [1], "what is switched off is closed when it comes back"
    assert fake.names[-1] == "close"


def test_F2_opening_may_take_longer_since_it_writes_what_came_before(fakes, warnings, monkeypatch):
    fake = fakes("open")
    mirror = Background("Fake", fake.open)
    mirror.tell("flush")  # has it opened
    assert fake.blocked.wait(HANGS)
    monkeypatch.setattr(background, "PATIENCE", 0.05)
    monkeypatch.setattr(background, "OPENING", 1000)
    time.sleep(0.06)
    mirror.tell("scalars", LINE)
    fake.released.set()
    mirror.tell("close", 0)
    mirror.finished(time.monotonic() + HANGS)
    assert fake.names == ["open", "flush", "scalars", "close"] and warnings() == []


def test_F2_patience_is_for_one_call_and_not_for_waiting_in_between(fakes, warnings, monkeypatch):
    monkeypatch.setattr(background, "PATIENCE", 0.02)
    fake = fakes()
    mirror = Background("Fake", fake.open)
    for _ in range(3):
        settled(lambda: mirror.busy_since is None)
        time.sleep(0.04)
        mirror.tell("scalars", LINE)
    mirror.tell("close", 0)
    mirror.finished(time.monotonic() + HANGS)
    assert fake.names == ["scalars"] * 3 + ["close"]
    assert warnings() == []


def test_F3_a_mirror_that_comes_back_late_is_closed_as_its_run_ended(fakes, warnings):
    fake = fakes("scalars")
    mirror = Background("Fake", fake.open)
    mirror.tell("scalars", LINE)
    assert fake.blocked.wait(HANGS)
    mirror.tell("close", 0)
    mirror.finished(soon())
    assert len(warnings()) == 1
    fake.released.set()
    settled(lambda: "close" in fake.names)
    assert fake.exit_codes == [0]
