"""D4, G3: sweeps in process groups of their own, killed again and again while their points train.

Those that are killed are forked from this process, which has imported torch already.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from interruptions import check_pointers, complete_torch, left
from small_runs import ROOT
from sweep_runs import run_py, small_grid, states, table

from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import LAST, read_entry
from gptexp.runs.lines import Lines

KILLS = 45

SECONDS = 300  # for a process to write its lines, or to end: a hundred times what it takes

LONG = [  # with 16 checkpoints to a point
    *("trainer.max_steps=60", "trainer.log_interval=1", "trainer.eval_interval=4"),
    *("trainer.sample_interval=8", "trainer.on_overfit=observe", "model.dropout=0.2"),
]


@dataclass
class Sweep:
    """One command, to be typed in one folder until its points are done."""

    folder: Path
    words: list[str]

    def typed(self) -> None:
        """The command, for a child process."""
        os.setsid()
        sys.exit(run_py(self.words, self.folder, self.folder / "shown"))

    @contextmanager
    def started(self) -> Iterator[BaseProcess]:
        """The command in a process group of its own, which is gone at the end."""
        complete_torch()
        process = get_context("fork").Process(target=self.typed)
        process.start()
        try:
            yield process
        finally:
            kill_group(process)

    def shown(self) -> str:
        """What the last process printed."""
        return (self.folder / "shown").read_text()

    def done(self) -> list[str]:
        """The rows of its table, when nothing stops it: as a person types it."""
        with (self.folder / "shown").open("wb") as shown:
            process = subprocess.run(
                [sys.executable, str(ROOT / "run.py"), *self.words],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=shown,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            )
        assert process.returncode == 0, self.shown()
        return table(self.shown())

    def runs(self) -> list[Path]:
        return sorted((self.folder / "outputs").glob("*/*"))

    def trained(self) -> dict[Path, tuple[int, int]]:
        """The journal of each point, with its time and the step that the point goes on from."""
        journals = [run / "metrics.jsonl" for run in self.runs()]
        return {p: (p.stat().st_mtime_ns, last_saved(p.parent)) for p in journals if p.exists()}

    def lines_since(self, before: dict[Path, tuple[int, int]]) -> int:
        """The steps in journals that were written to since then, behind what was saved then."""
        lines = 0
        for path in [run / "metrics.jsonl" for run in self.runs()]:
            changed, saved = before.get(path, (0, -1))
            if path.exists() and path.stat().st_mtime_ns != changed:
                lines += max(Lines(path).last().get("step", -1) - saved, 0)
        return lines

    def killed(self, lines: int, seconds: float) -> bool:
        """Kill it some seconds after that many new lines; False where it has ended before."""
        before, deadline = self.trained(), time.monotonic() + SECONDS
        with self.started() as process:
            while self.lines_since(before) < lines and process.is_alive():
                assert time.monotonic() < deadline, self.shown()
                time.sleep(0.005)
            time.sleep(seconds)
            kill_group(process)
        assert process.exitcode in (0, -signal.SIGKILL), self.shown()
        return process.exitcode != 0


@dataclass
class Witness:
    """What kills of a sweep left of its points, and what must be so after the next one."""

    saved: dict[Path, list[int]] = field(default_factory=dict)  # the last checkpoint at each kill
    done: dict[Path, list[bytes]] = field(default_factory=dict)  # files, with all times in them

    def look(self, runs: list[Path]) -> None:
        """Each point went on from the checkpoint it had; one that is done is as it was."""
        for run in runs:
            resumes = RunDirectory(run).manifest().get("resumes", [])
            assert [resume["step"] for resume in resumes] == self.saved.get(run, []), run
            assert run not in self.done or files(run) == self.done[run], run

    def note(self, runs: list[Path]) -> None:
        """Take in what a kill has left."""
        unfinished = [run for run in runs if not (run / "summary.json").exists()]
        assert len(unfinished) <= 1, "one point after another"
        for run in unfinished:
            if (step := last_saved(run)) >= 0:
                self.saved.setdefault(run, []).append(step)
        self.done |= {run: files(run) for run in runs if run not in unfinished}


def kill_group(process: BaseProcess) -> None:
    """Kill the process with all that it has started; nothing to one that has ended."""
    if process.is_alive():  # else its number may be that of another by now
        # The group is not there yet, or, as macOS says it, no longer.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def last_saved(run: Path) -> int:
    """The step of the last checkpoint; -1 where there is none."""
    entry = read_entry(run / "checkpoints" / LAST)
    return -1 if entry is None else entry.step


def files(run: Path) -> list[bytes]:
    """What is never written again once a run is done."""
    return [(run / name).read_bytes() for name in ("summary.json", "metrics.jsonl")]


def kill_again_and_again(sweep: Sweep, moments: random.Random, most: int) -> int:
    """Type the command until it ends by itself, or was killed that often; returns how often."""
    witness, kills = Witness(), 0
    lines, wait = moments.randint(1, 16), moments.uniform(0, 0.02)
    while kills < most and sweep.killed(lines, wait):
        kills += 1
        print(f"kill {kills} of {sweep.folder.name}: {1000 * wait:.1f} ms after {lines} new lines")
        check_pointers(sweep.folder / "outputs")
        witness.look(sweep.runs())
        witness.note(sweep.runs())
        lines, wait = moments.randint(1, 16), moments.uniform(0, 0.02)
    sweep.done()
    witness.look(sweep.runs())
    return kills


def check_equal(one: Sweep, other: Sweep) -> None:
    """Two sweeps that are done say the same when they are typed again, and left the same."""
    rows = one.done()
    assert rows == other.done()
    assert states(one.shown()) == ["already done"] * 4
    assert [left(run) for run in one.runs()] == [left(run) for run in other.runs()]


@pytest.mark.drawn
@pytest.mark.slow(minutes=1)
def test_D4_G3_kills_of_sweeps_in_training_change_no_bit_of_their_points(text_file, tmp_path):
    moments, kills, seed = random.Random(0), 0, 0
    print("moments of random.Random(0)")
    while kills < KILLS:
        words = small_grid(text_file, f"seed={seed},{seed + 1}", "model.n_layer=1,2", *LONG)
        straight, killed = (Sweep(tmp_path / f"{seed}-{name}", words) for name in ("not", "killed"))
        for sweep in (straight, killed):
            sweep.folder.mkdir()
        rows = straight.done()
        kills += kill_again_and_again(killed, moments, KILLS - kills)
        assert [row[12:] for row in table(killed.shown())] == [row[12:] for row in rows]
        check_equal(straight, killed)
        seed += 2
    print(f"{kills} kills of {seed // 2} sweeps of 4 points")
