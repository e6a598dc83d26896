"""F5: the board of a run that was stopped and taken up again is that of one that never was."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import board, ends, event_file, events, images, scalars, texts
from interruptions import Small, before, die, kill_before_step, killed, only_run, stop_before_step
from signalled_runs import terminate_after

from gptexp.config import Config
from gptexp.experiment import train
from gptexp.experiment.run import run_experiment
from gptexp.inference.probe import Probe
from gptexp.runs.directory import RunDirectory
from gptexp.runs.journal import Sample
from gptexp.tracking.dashboard import FinalResult, RunInfo
from gptexp.tracking.tensorboard import TensorBoard
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick", "no_pictures")

BOARD = ["logger=tensorboard", "trainer.log_interval=1"]
WHOLE: list[tuple[Any, ...]] = []  # the board of a run that nothing stopped


@pytest.fixture
def whole(small: Small, tmp_path: Path) -> tuple[Any, ...]:
    if not WHOLE:
        config = small(*BOARD)
        WHOLE.append(board(run_experiment(config, tmp_path / "whole").path))
    return WHOLE[0]


def finished(config: Config, outputs: Path) -> Path:
    outcome = run_experiment(config, outputs)
    assert outcome.state == "done", outcome
    in_order(outcome.path)
    return outcome.path


def in_order(run: Path) -> None:
    for tag, points in {**scalars(run), **texts(run), **images(run)}.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), tag


@pytest.mark.parametrize("step", [0, 3, 5, 8, 11])
def test_F5_after_a_kill_no_step_is_missing_or_doubled(
    small: Small, tmp_path: Path, whole: Any, step: int
) -> None:
    config = small(*BOARD)
    kill_before_step(config, tmp_path / "killed", step)
    run = finished(config, tmp_path / "killed")
    assert board(run, pictures=False)[:3] == whole[:3]
    for tag, drawn in images(run).items():
        assert set(drawn) <= set(whole[3][tag])  # a kill may lose the latest


def test_F5_after_a_kill_before_anything_was_written(
    small: Small, tmp_path: Path, whole: Any
) -> None:
    config = small(*BOARD)
    killed(config, tmp_path / "killed", lambda: before(Trainer, "begin", lambda *_: die()))
    assert board(finished(config, tmp_path / "killed")) == whole


@pytest.mark.parametrize("steps", [(4,), (6,), (2, 7, 8)])
def test_F5_after_interruptions_no_step_or_picture_is_missing_or_doubled(
    small: Small, tmp_path: Path, whole: Any, steps: tuple[int, ...]
) -> None:
    config = small(*BOARD)
    for step in steps:
        terminate_after(step, config, tmp_path / "stopped")
        in_order(only_run(config, tmp_path / "stopped"))
    run = finished(config, tmp_path / "stopped")
    assert board(run) == whole
    assert len(ends(run)) == 1


def test_F5_a_board_that_was_switched_off_for_a_while_has_everything(
    small: Small, tmp_path: Path, whole: Any
) -> None:
    off, on = small("logger=none", "trainer.log_interval=1"), small(*BOARD)
    stop_before_step(off, tmp_path / "late", 7)
    assert board(finished(on, tmp_path / "late"), pictures=False)[:3] == whole[:3]
    terminate_after(4, on, tmp_path / "between")
    terminate_after(8, off, tmp_path / "between")
    assert board(finished(on, tmp_path / "between"), pictures=False)[:3] == whole[:3]


def test_F5_a_run_killed_after_its_last_step_has_one_end(
    small: Small, tmp_path: Path, whole: Any
) -> None:
    """All is on the board by then, and the next process puts it there again."""
    config = small(*BOARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "write_json", lambda *_: 1 / 0)
        patch.setattr(train, "write_manifest", lambda *_: None)
        assert run_experiment(config, tmp_path / "stopped").exit_code == 1
    assert board(finished(config, tmp_path / "stopped")) == whole


def test_a_rerun_starts_an_empty_board(small: Small, tmp_path: Path, whole: Any) -> None:
    config = small(*BOARD)
    finished(config, tmp_path / "again")
    config.rerun = True
    assert board(finished(config, tmp_path / "again")) == whole


LINES = [
    {"step": s, "tokens": 32 * s, "epoch": s / 8, "val/loss": 4 - s / 4, "train/eval_loss": 3.0}
    for s in range(0, 12, 2)
]
SAMPLES = [Sample(step, "a", 0.8, None, 1, f"text of {step}") for step in (4, 8)]


def probe(step: int) -> Probe:
    return Probe(step, ["a"], [], ["a", "b"], {1.0: np.array([step, 1.0], dtype=np.float32)})


def story(folder: Path, resume_step: int | None) -> RunInfo:
    last = -1 if resume_step is None else resume_step
    lines = [line for line in LINES if line["step"] <= last]
    samples = [sample for sample in SAMPLES if sample.step <= last]
    return RunInfo(folder, "group", {"seed": 1}, resume_step, lines, samples)


def write(opened: TensorBoard, after: int = -1, close: bool = True) -> None:
    """What a process that went on after a step tells."""
    for line in LINES:
        if line["step"] > after:
            opened.scalars(line)
    for sample in SAMPLES:
        if sample.step > after:
            opened.sample(sample)
            opened.probe(probe(sample.step))
    if close:
        opened.final(FinalResult(10, {"final/x": 1.0}, SAMPLES[0], probe(4), None))
        opened.close(0)
    else:
        opened.flush()


@pytest.fixture
def straight(tmp_path: Path) -> tuple[Any, ...]:
    folder = tmp_path / "straight"
    folder.mkdir()
    write(TensorBoard(story(folder, None)))
    return board(folder)


def nothing(path: Path) -> None:
    pass


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def halved(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def zeros(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("damage", [nothing, torn, halved, zeros, emptied, gone])
@pytest.mark.parametrize("step", [0, 6])
def test_F5_whatever_is_left_of_a_board_a_resume_makes_it_whole(
    tmp_path: Path, straight: Any, step: int, damage: Callable[[Path], None], closed: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write(TensorBoard(story(folder, None)), close=closed)
    damage(event_file(folder))
    write(TensorBoard(story(folder, step)), after=step)
    in_order(folder)
    if damage is nothing:
        assert board(folder) == straight
    assert board(folder, pictures=False)[:3] == straight[:3]


def test_F5_a_hole_in_the_middle_is_filled(tmp_path: Path, straight: Any) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    opened = TensorBoard(story(folder, None))
    for line in (LINES[0], LINES[4]):
        opened.scalars(line)
    opened.close(130)
    write(TensorBoard(story(folder, 8)), after=8)
    in_order(folder)
    assert board(folder, pictures=False)[:3] == straight[:3]


def test_a_resume_keeps_the_times_when_points_were_logged(tmp_path: Path) -> None:
    def times() -> dict[tuple[str, int], float]:
        found = events(tmp_path)
        return {(v.tag, e.step): e.wall_time for e in found for v in e.summary.value}

    write(TensorBoard(story(tmp_path, None)), close=False)
    before_it = times()
    assert len(before_it) > 40
    TensorBoard(story(tmp_path, 6)).close(0)
    after_it = times()
    kept = {place for place in after_it if place[0].startswith("val/") or place[0] == "next_token"}
    assert kept == {("val/loss", 0), ("val/loss", 2), ("val/loss", 4), ("val/loss", 6)} | {
        ("next_token", 4)
    }
    assert {place: after_it[place] for place in kept} == {p: before_it[p] for p in kept}


def test_two_event_files_of_a_kill_during_a_resume_become_one(
    tmp_path: Path, straight: Any
) -> None:
    """A kill between the new file and the removal of the old one leaves both."""
    folder, other = tmp_path / "run", tmp_path / "other"
    for place in (folder, other):
        place.mkdir()
        write(TensorBoard(story(place, None)), close=False)
    shutil.copy(event_file(other), folder / f"{event_file(other).name}.b")
    write(TensorBoard(story(folder, 6)), after=6)
    assert board(folder) == straight
