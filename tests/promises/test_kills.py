"""Killed before any durable call, or beside another process: the same command goes on."""

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
    Small,
    before,
    check_pointers,
    die,
    finish,
    fork,
    forked,
    kill_before_step,
    killed,
    left,
    only_run,
    stop_before_step,
    uninterrupted,
)
from small_runs import status

from gptexp.config import Config
from gptexp.experiment.run import run_experiment
from gptexp.runs.journal import Journal
from gptexp.training.trainer import Trainer

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
        if outcome.exit_code != 0 or outcome.path is None:
            wrong.append(f"{folder.name}: {outcome.error}")
            continue
        parts = zip(PARTS, left(outcome.path), expected, strict=True)
        wrong += [f"{folder.name}: {part} {was}" for part, was, want in parts if was != want]
        if status(outcome.path)["state"] != "done":
            wrong.append(f"{folder.name}: {status(outcome.path)}")
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
    resume_all(config, undoing[::3], expected)  # every third one, for the time it takes


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

    first = fork()
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
        run_experiment(config, tmp_path / name).path for name in ("stopped", "straight")
    )
    written = [(run / "samples.jsonl").read_bytes() for run in (taken_up, straight)]
    assert "\u2028" in written[1].decode()
    assert written[0] == written[1]
