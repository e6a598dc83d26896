"""Signals, kills before every durable call, full disks, and two processes in one directory."""

import errno
import io
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interruptions import (
    STOPS_AT_12,
    Small,
    after,
    before,
    die,
    finish,
    forked,
    kill_before_step,
    killed,
    left,
    only_run,
    stop_before_step,
    uninterrupted,
)

from gptexp.config import Config
from gptexp.experiment.lifecycle import outcome_after
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluator
from gptexp.runs import checkpoint
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import Entry
from gptexp.runs.journal import Journal
from gptexp.training.trainer import Trainer

SIGNALS = [signal.SIGINT, signal.SIGTERM]


pytestmark = pytest.mark.usefixtures("quick")


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def last_step(run: Path) -> int:
    return json.loads((run / "checkpoints/last.json").read_text())["step"]


def send(number: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("owner", "name", "at", "saved"),
    [
        (Trainer, "train_step", 5, 6),  # the step is finished first
        (Trainer, "evaluate_if_due", 4, 4),
        (Trainer, "sample_if_due", 6, 6),
        (Trainer, "save", 4, 5),  # the write goes on, and so does the loop for one step
    ],
)
def test_D1_D2_a_signal_saves_and_the_same_command_goes_on(
    small: Small,
    tmp_path: Path,
    number: int,
    owner: Any,
    name: str,
    at: int,
    saved: int,
) -> None:
    config = small(*STOPS_AT_12)

    def work() -> int:
        before(owner, name, lambda self, *_: send(number) if due(self) else None)
        return run_experiment(config, tmp_path / "stopped").exit_code

    def due(self: Trainer) -> bool:
        sent.append(self.step == at)
        return sent.count(True) == 1 and sent[-1]

    sent: list[bool] = []
    assert forked(work) == 128 + number
    run = only_run(config, tmp_path / "stopped")
    assert status(run)["state"] == "interrupted"
    assert f"saved at step {saved} of 20" in status(run)["reason"]
    assert last_step(run) == saved
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize("number", SIGNALS)
def test_D1_D2_a_second_signal_acts_at_once(small: Small, tmp_path: Path, number: int) -> None:
    config = small()

    def work() -> int:
        before(Trainer, "train_step", lambda self: send(number, 2) if self.step == 6 else None)
        try:
            return run_experiment(config, tmp_path / "stopped").exit_code
        except KeyboardInterrupt:
            return 77

    assert forked(work) == (77 if number == signal.SIGINT else -signal.SIGTERM)
    assert last_step(only_run(config, tmp_path / "stopped")) == 4
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


def test_G8_a_signal_during_the_last_save_is_not_forgotten(small: Small, tmp_path: Path) -> None:
    """A sweep must learn of it, or it would start its next point."""
    config = small()

    def work() -> int:
        last = config.trainer.max_steps

        def interrupt(self: Trainer) -> None:
            if self.step == last:
                os.kill(os.getpid(), signal.SIGINT)

        after(Trainer, "save", interrupt)
        return run_experiment(config, tmp_path / "stopped").exit_code

    assert forked(work) == 130
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize(("owner", "name"), [(Trainer, "begin"), (Evaluator, "evaluate")])
def test_ctrl_c_before_the_training_loop_or_after_it_is_written_down(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    config = small("data.test_fraction=0.1")

    def press(_: Any, given: object = None) -> None:
        if name == "begin" or given == "test":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        before(owner, name, press, patch)
        run_experiment(config, tmp_path)
    run = only_run(config, tmp_path)
    assert status(run)["state"] == "interrupted"
    assert "the same command goes on" in status(run)["reason"]
    found = outcome_after(RunDirectory(run))
    assert (found.state, found.exit_code) == ("interrupted", 130)
    assert run_experiment(config, tmp_path).state == "done"


def test_a_signal_gets_its_old_handler_back_after_the_run(small: Small, tmp_path: Path) -> None:
    was = [signal.getsignal(number) for number in SIGNALS]
    run_experiment(small("trainer.max_steps=1"), tmp_path)
    assert [signal.getsignal(number) for number in SIGNALS] == was


PARTS = ("summary", "metrics", "samples", "checkpoints")  # of what a run leaves

# Durable calls as the interpreter reports them: opening for writing, renaming, removing, ...
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir"}


def watch(folder: Path, call: Callable[[str], None]) -> None:
    """Have `call(what)` run before every durable call on `folder`. Only for a child process."""
    busy = False

    def note(what: str) -> None:
        nonlocal busy
        if not busy:
            busy = True
            call(what)
            busy = False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not str(arguments[0]).startswith(str(folder)):
            return
        if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            note(f"{event} {Path(str(arguments[0])).name}")

    sys.addaudithook(audit)
    before(os, "fsync", lambda *_: note("fsync"))
    before(Journal, "write", lambda self, *_: note(f"write {self.path.name}"))


def photograph(config: Config, outputs: Path, folder: Path) -> list[Path]:
    """Run `config` in a child and copy `outputs` before every durable call, as a kill there would
    leave it: the system keeps what a killed process wrote. Copies of equal content come once.
    """

    def work() -> int:
        outputs.mkdir(exist_ok=True)
        seen: set[Any] = set()

        def copy(what: str) -> None:
            content = {
                path: path.read_bytes()
                for path in sorted(outputs.rglob("*"))
                if path.is_file() and path.name not in ("run.log", "manifest.json", ".lock")
            }
            key = hash(tuple(content.items()))
            if key not in seen:
                seen.add(key)
                name = f"{len(seen):03} before {what}"
                shutil.copytree(outputs, folder / name, symlinks=True)

        watch(outputs, copy)
        return run_experiment(config, outputs).exit_code

    assert forked(work) == 0
    return sorted(folder.iterdir())


def check_pointers(outputs: Path) -> None:
    """Every checkpoint that a pointer names is whole."""
    for pointer in [*outputs.rglob("best.json"), *outputs.rglob("last.json")]:
        entry = Entry(**json.loads(pointer.read_text()))
        checkpoint.read(pointer.parent / entry.file, entry)


def short(small: Small) -> Config:
    """Three updates, whose best checkpoint is not always the last, and is pruned in the end."""
    config = small("optim.lr=0.5", "schedule.warmup_steps=0", "trainer.checkpoint_interval=1")
    config.trainer.max_steps, config.trainer.eval_interval = 3, 2
    config.trainer.log_interval, config.trainer.sample_interval = 3, 2
    config.trainer.sample_tokens = 2
    return config


def resume_all(config: Config, photographs: list[Path], expected: tuple[Any, ...]) -> None:
    """The same command after a kill at each instant ends every time as the straight run."""
    wrong = []
    for folder in photographs:
        outcome = run_experiment(config, folder)
        if outcome.exit_code != 0 or outcome.directory is None:
            wrong.append(f"{folder.name}: {outcome.error}")
            continue
        parts = zip(PARTS, left(outcome.directory), expected, strict=True)
        wrong += [f"{folder.name}: {part} {was}" for part, was, want in parts if was != want]
        if status(outcome.directory)["state"] != "done":
            wrong.append(f"{folder.name}: {status(outcome.directory)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_D3_killed_before_every_durable_call_it_still_ends_as_the_straight_run(
    small: Small, tmp_path: Path
) -> None:
    config = short(small)
    expected = uninterrupted(config, tmp_path / "straight")
    photographs = photograph(config, tmp_path / "source", tmp_path / "killed")
    assert len(photographs) > 40
    for folder in photographs:
        check_pointers(folder)
    resume_all(config, photographs, expected)


def test_D3_killed_before_every_durable_call_of_a_resume_it_still_ends_as_the_straight_run(
    small: Small, tmp_path: Path
) -> None:
    config = short(small)
    expected = uninterrupted(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "source", 2)
    [newest] = (tmp_path / "source").rglob("step-2.pt")
    newest.write_bytes(newest.read_bytes()[:-100])  # so that the resume has much to undo
    photographs = photograph(config, tmp_path / "source", tmp_path / "killed")
    undoing = [folder for folder in photographs if len(list(folder.rglob("step-3.*"))) == 0]
    assert 5 < len(undoing) < len(photographs)
    resume_all(config, undoing[::2], expected)  # every other one, for the time it takes


def test_D3_a_real_kill_at_a_durable_call_leaves_what_its_photograph_shows(
    small: Small, tmp_path: Path
) -> None:
    config = short(small)

    def die_at(what: str) -> None:
        calls.append(what)
        if len(calls) == 50:
            shutil.copytree(tmp_path / "source", tmp_path / "photograph")
            die()

    calls: list[str] = []
    killed(config, tmp_path / "source", lambda: watch(tmp_path / "source", die_at))
    [one, other] = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "source", tmp_path / "photograph")
    ]
    assert one == other
    assert finish(config, tmp_path / "source") == uninterrupted(config, tmp_path / "straight")


class Full(io.BytesIO):
    """A file on a disk that has room for 100 more bytes."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        self.file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_D5_a_disk_full_at_a_checkpoint_keeps_the_one_before_and_the_run_goes_on_later(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    with monkeypatch.context() as patch:
        saves = []
        before(Trainer, "save", lambda self: saves.append(self.step), patch)
        whole = Path.open

        def full(path: Path, *arguments: Any, **named: Any) -> Any:
            file = whole(path, *arguments, **named)
            return Full(file) if 8 in saves and ".pt." in path.name else file

        patch.setattr(Path, "open", full)
        outcome = run_experiment(config, tmp_path / "full")
    assert (outcome.state, outcome.exit_code) == ("failed", 4)
    assert "step-8.pt: No space left on device" in outcome.error
    assert "MB free; what was saved before is kept. Fix: free some space" in outcome.error
    run = outcome.directory
    assert last_step(run) == 4
    check_pointers(run)
    assert list(run.rglob("*.tmp")) == [], "what was half written takes up no space"
    assert finish(config, tmp_path / "full") == uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_D6_a_disk_full_for_a_journal_ends_the_run_with_the_reason(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = small()

    def fill(self: Trainer) -> None:
        if self.step == 6:
            for journal in (self.parts.tracker.metrics, self.parts.tracker.samples):
                if journal.path.name == name:
                    journal.file.close()
                    journal.file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115

    with monkeypatch.context() as patch:
        before(Trainer, "log_if_due", fill, patch)
        outcome = run_experiment(config, tmp_path / "full")
    assert (outcome.state, outcome.exit_code) == ("failed", 4), outcome.error
    assert f"{name}: No space left on device" in outcome.error
    assert finish(config, tmp_path / "full") == uninterrupted(config, tmp_path / "straight")


@pytest.mark.parametrize("trouble", ["a file in the way", "a read-only system"])
def test_D7_outputs_that_cannot_be_written_are_refused_at_the_start(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    steps: list[int] = []
    before(Trainer, "train_step", lambda self: steps.append(self.step), monkeypatch)
    outputs = tmp_path / "outputs"
    if trouble == "a file in the way":
        outputs.write_text("not a folder")
    else:
        monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = run_experiment(small(), outputs)
    assert (outcome.exit_code, steps) == (4, [])
    assert str(outputs) in outcome.error
    assert "Fix: make the folder writable" in outcome.error


@pytest.mark.parametrize("rerun", [False, True])
def test_D8_the_second_process_in_a_directory_names_the_first(
    small: Small, tmp_path: Path, rerun: bool
) -> None:
    config = small()
    told, tell = os.pipe()
    go, release = os.pipe()

    def hold(self: Trainer) -> None:
        if self.step == 5:
            os.write(tell, b"x")
            os.read(go, 1)

    first = os.fork()
    if first == 0:
        code = 99
        try:
            signal.alarm(60)
            before(Trainer, "train_step", hold)
            code = run_experiment(config, tmp_path / "shared").exit_code
        finally:
            os._exit(code)
    os.read(told, 1)
    second = small()
    second.rerun = rerun
    outcome = run_experiment(second, tmp_path / "shared")
    os.write(release, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 0
    assert outcome.exit_code == 6
    assert f"in use by process {first} on {socket.gethostname()}" in outcome.error
    run = only_run(config, tmp_path / "shared")
    assert status(run) == {**status(run), "state": "done", "pid": first}
    assert left(run) == uninterrupted(config, tmp_path / "straight")


def test_D8_a_killed_process_leaves_no_lock_behind(small: Small, tmp_path: Path) -> None:
    config = small("trainer.max_steps=4")
    kill_before_step(config, tmp_path, 1)
    run = only_run(config, tmp_path)
    assert status(run)["state"] == "running"
    assert run_experiment(config, tmp_path).state == "done"
    assert status(run)["state"] == "done"


@pytest.mark.parametrize("torn", [b'{"step": 7, "tok', b'{"step": 7}', b"\xc3", b"\0\0\0\0", b"7"])
def test_D10_a_torn_last_line_is_taken_out_when_the_run_goes_on(
    small: Small, tmp_path: Path, torn: bytes
) -> None:
    config = small()
    stop_before_step(config, tmp_path / "stopped", 7)
    run = only_run(config, tmp_path / "stopped")
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (run / name).open("ab") as file:
            file.write(torn)
    assert finish(config, tmp_path / "stopped") == uninterrupted(config, tmp_path / "straight")


def test_a_sample_with_a_line_separator_is_still_there_after_a_resume(
    small: Small, tmp_path: Path, text_file: Path
) -> None:
    text_file.write_text(text_file.read_text().replace(" ", "\u2028"), encoding="utf-8")
    config = small()
    stop_before_step(config, tmp_path / "stopped", 11)
    taken_up, straight = (
        run_experiment(config, tmp_path / name).directory for name in ("stopped", "straight")
    )
    written = [(run / "samples.jsonl").read_bytes() for run in (taken_up, straight)]
    assert "\u2028" in written[1].decode()
    assert written[0] == written[1]
