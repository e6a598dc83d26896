"""Dashboards that raise, hang or fall behind, and a training that goes on: F2 and F3."""

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import put, summary
from kills import Small, before, left, uninterrupted

from gptexp import experiment, tracking
from gptexp.mirrors import Background, background
from gptexp.tracking import open_tracking
from gptexp.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")

LINE = {"step": 1, "val/loss": 2.0}
HANGS = 60.0  # seconds that a fake may block when a test fails to release it


class Fake:
    """A dashboard that notes its calls, and fails or blocks in those of one kind."""

    def __init__(self, fails: str = "", error: BaseException | None = None) -> None:
        self.fails, self.error = fails, error
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.blocked, self.released = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.take(name, arguments)

    def take(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((name, arguments))
        if name == self.fails:
            if self.error is not None:
                raise self.error
            self.blocked.set()
            self.released.wait(HANGS)

    def open(self) -> Any:
        if self.fails == "open":
            self.take("open", ())
        return self

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    @property
    def exit_codes(self) -> list[int]:
        return [arguments[0] for name, arguments in self.calls if name == "close"]


@pytest.fixture
def fakes() -> Iterator[Callable[..., Fake]]:
    """`fakes(...)`: a Fake that is let go when the test is over."""
    made: list[Fake] = []

    def make(*arguments: Any) -> Fake:
        made.append(Fake(*arguments))
        return made[-1]

    yield make
    for fake in made:
        fake.released.set()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said with level WARNING, and was one line each."""
    caplog.set_level(logging.INFO, "gptexp")

    def said() -> list[str]:
        found = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert not any("\n" in line for line in found)
        return found

    return said


def infos(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "lacks" in r.getMessage()]


def mirrored(patch: pytest.MonkeyPatch, *mirrors: Fake) -> None:
    """Have the next runs use `mirrors` for dashboards."""

    def open_mirrors(*_: object) -> list[Background]:
        return [Background(f"Fake{n}", fake.open) for n, fake in enumerate(mirrors)]

    patch.setattr(tracking, "open_mirrors", open_mirrors)


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
    assert warnings() == [f"Fake failed: {first_line}; it is switched off, and training goes on"]
    assert fake.names == ["sample", "scalars", "close"]
    assert fake.exit_codes == [1]
    assert infos(caplog) == ["Fake lacks the last 4 entries; `gptexp export` has them all"]


def test_F2_an_error_of_the_last_call_is_a_warning_too(fakes, warnings, caplog):
    fake = fakes("close", ValueError("late"))
    mirror = Background("Fake", fake.open)
    mirror.tell("scalars", LINE)
    mirror.tell("close", 0)
    mirror.finished(time.monotonic() + HANGS)
    assert len(warnings()) == 1 and "ValueError: late" in warnings()[0]
    assert fake.names == ["scalars", "close"]
    assert infos(caplog) == []


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
    assert (warnings(), infos(caplog)) == ([], [])


def test_F2_a_full_queue_switches_it_off_and_what_is_lost_is_counted(
    fakes, warnings, caplog, monkeypatch
):
    monkeypatch.setattr(background, "CAPACITY", 5)
    fake = fakes("scalars")
    mirror = Background("Fake", fake.open)
    mirror.tell("scalars", LINE)
    assert fake.blocked.wait(HANGS)
    for method in ["sample", "insight", "flush", "flush", "final"]:  # the queue's 5
        mirror.tell(method, None)
    assert warnings() == []
    for method in ["scalars", "sample", "flush", "close"]:
        mirror.tell(method, None)
    assert warnings() == ["Fake is 5 calls behind; it is switched off, and training goes on"]
    mirror.finished(soon())
    assert len(warnings()) == 1
    # The one that blocks, three that wait and two that found no room; flush and close carry none.
    assert infos(caplog) == ["Fake lacks the last 6 entries; `gptexp export` has them all"]


@pytest.mark.parametrize("where", ["scalars", "open"])
def test_F2_a_call_that_takes_too_long_switches_it_off(fakes, warnings, caplog, monkeypatch, where):
    monkeypatch.setattr(background, "PATIENCE", 0.0)
    fake = fakes(where)
    mirror = Background("Fake", fake.open)
    if where == "scalars":
        settled(lambda: mirror.busy_since is None)
        mirror.tell("scalars", LINE)
    assert fake.blocked.wait(HANGS)
    time.sleep(0.01)
    mirror.tell("sample", None)
    mirror.tell("sample", None)
    assert warnings() == [
        "Fake has not answered for 0 seconds; it is switched off, and training goes on"
    ]
    mirror.finished(soon())
    assert len(warnings()) == 1
    lost = 3 if where == "scalars" else 2
    assert infos(caplog) == [f"Fake lacks the last {lost} entries; `gptexp export` has them all"]
    fake.released.set()
    settled(lambda: "close" in fake.names)
    assert fake.exit_codes == [1], "what is switched off is closed when it comes back"
    assert fake.names[-1] == "close"


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


def test_F3_all_mirrors_together_have_one_deadline(small, tmp_path, fakes, warnings, monkeypatch):
    monkeypatch.setattr(background, "FINISH", 0.3)
    hanging, well = [fakes("close") for _ in range(5)], fakes()
    mirrored(monkeypatch, *hanging, well)
    began = time.monotonic()
    with open_tracking(small(), tmp_path, None) as tracked:
        tracked.scalars(1, {"val/loss": 2.0})
    assert 0.3 <= time.monotonic() - began < 5 * 0.3
    assert warnings() == [
        f"Fake{n} did not finish in time; it is switched off, and training goes on"
        for n in range(5)
    ]
    assert [fake.exit_codes for fake in [*hanging, well]] == [[0]] * 6


@pytest.mark.parametrize("error", [ImportError("No module named 'wandb'"), OSError("full")])
def test_F2_a_mirror_that_does_not_open_leaves_a_run_done(
    small: Small, tmp_path: Path, fakes, warnings, caplog, monkeypatch, error
):
    mirrored(monkeypatch, fakes("open", error))
    outcome = experiment.run(small(), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("done", 0)
    kind = type(error).__name__
    assert warnings() == [
        f"Fake0 failed: {kind}: {error}; it is switched off, and training goes on"
    ]
    assert len(infos(caplog)) == 1
    with_it = (outcome.directory / "run.log").read_text()
    assert with_it.count(" WARNING ") == 1 and "Fake0 lacks the last" in with_it


@pytest.mark.parametrize("fails", ["scalars", "sample", "insight", "final", "flush", "close"])
@pytest.mark.parametrize("how", ["raises", "blocks"])
def test_F2_F3_R3_a_run_with_a_bad_mirror_is_done_with_equal_weights_and_metrics(
    small: Small, tmp_path: Path, fakes, warnings, monkeypatch, how, fails
):
    expected = uninterrupted(small(), tmp_path / "straight")
    monkeypatch.setattr(background, "FINISH", 0.1)
    bad = fakes(fails, RuntimeError("away") if how == "raises" else None)
    well = fakes()
    mirrored(monkeypatch, bad, well)
    outcome = experiment.run(small(), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("done", 0)
    assert left(outcome.directory) == expected
    assert len(warnings()) == 1 and warnings()[0].startswith("Fake0 ")
    # The one beside it has seen everything, in order.
    steps = [a[0]["step"] for name, a in well.calls if name == "scalars"]
    assert steps == [line["step"] for line in expected[1]] == sorted(steps)
    assert well.names[-2:] == ["final", "close"]
    assert well.names.count("insight") == well.names.count("sample") == 2
    assert well.exit_codes == [0]


def test_a_mirror_is_told_floats_where_the_journal_has_null(small, tmp_path, fakes, monkeypatch):
    fake = fakes()
    mirrored(monkeypatch, fake)
    with open_tracking(small(), tmp_path, None) as tracked:
        tracked.scalars(1, {"val/loss": math.nan})
    [(_, [line])] = [call for call in fake.calls if call[0] == "scalars"]
    assert math.isnan(line["val/loss"])


def interrupt(number: int) -> Callable[[Trainer], None]:
    return lambda self: os.kill(os.getpid(), number) if self.step == 5 else None


def bug(self: Trainer) -> None:
    if self.step == 5:
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("arrange", "code"),
    [
        (None, 0),
        (interrupt(signal.SIGINT), 130),
        (interrupt(signal.SIGTERM), 143),
        (bug, 1),
        ("diverges", 3),
    ],
)
def test_a_mirror_is_told_how_the_run_ended(
    small: Small, tmp_path: Path, fakes, monkeypatch, arrange, code
):
    fake = fakes()
    mirrored(monkeypatch, fake)
    config = small()
    if arrange == "diverges":
        put(config, "optim.lr", 1e30)
        put(config, "trainer.grad_clip", 0.0)
    elif arrange is not None:
        before(Trainer, "train_step", arrange, monkeypatch)
    outcome = experiment.run(config, tmp_path / "outputs")
    assert outcome.exit_code == code, outcome.error
    assert fake.exit_codes == [code]
    assert fake.names[-1] == "close"


def test_a_second_signal_is_an_interruption_for_a_mirror(small, tmp_path, fakes, monkeypatch):
    fake = fakes()
    mirrored(monkeypatch, fake)
    with pytest.raises(KeyboardInterrupt), open_tracking(small(), tmp_path, None):
        raise KeyboardInterrupt
    assert fake.exit_codes == [130]


def test_R3_a_run_says_what_it_came_to_once(small: Small, tmp_path: Path, fakes, monkeypatch):
    fake = fakes()
    mirrored(monkeypatch, fake)
    run = experiment.run(small(), tmp_path / "outputs").directory
    [final] = [arguments[0] for name, arguments in fake.calls if name == "final"]
    best = summary(run)["best"]
    assert final.step == 12
    assert final.values["final/best_val_loss"] == best["val_loss"]
    assert final.sample.step == best["step"] == final.insight.step
    assert final.checkpoint == run / "checkpoints" / f"step-{best['step']}.pt"
    assert final.checkpoint.is_file()
    json.dumps(final.values)
