"""A disk that is full, or refuses: the reason in one line, and what was saved before is whole."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from interruptions import (
    Small,
    before,
    check_pointers,
    finish,
    uninterrupted,
)
from small_runs import last_step

from gptexp.experiment.run import run_experiment
from gptexp.training.trainer import Trainer


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
    run = outcome.path
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
    if trouble == "a file in the way":
        assert outcome.error.startswith(f"{outputs}: a file where a folder is to be. Fix: move it")
    else:
        assert "Fix: make the folder writable" in outcome.error
