"""What a journal of a million lines costs: `python -m benchmarks.journals [LINES] [VERB ...]`.

Interrupts a small run after three steps, sets its checkpoint and its metrics.jsonl forward as if it
had logged LINES times, every tenth line an evaluation, and takes CPU time and peak memory of the
real commands in fresh processes; beside it the same of a run of 100 lines.
"""

import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from gptexp.config import from_overrides
from gptexp.experiment.run import run_experiment
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import Store
from gptexp.training.trainer import Trainer

COMMAND = "from gptexp.cli import main; main()"
LAUNCHER = """
import os, subprocess, sys
status, usage = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)[1:]
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(bool(status))
"""  # small, since a process counts the memory of the one that starts it as its own
REPEATS = 3  # of each command, of which the median counts
FEW = 100  # lines
EVERY = 10  # steps from line to line, and lines from evaluation to evaluation
SMALL = [
    *("name=long", "data=text", "data.path=text.txt", "trainer.device=cpu", "model.n_layer=1"),
    *("model.n_head=1", "model.n_embd=8", "model.block_size=8", "schedule.warmup_steps=0"),
    *(f"trainer.log_interval={EVERY}", f"trainer.eval_interval={EVERY**2}"),
    *("trainer.sample_interval=0", "trainer.sample_tokens=20", "trainer.on_overfit=observe"),
]
VERBS = {
    "resume": ["run.py", "logger=none"],
    "finished run again": ["run.py", "logger=none"],
    "table": ["table", "RUN"],
    "sample": ["sample", "RUN", "--tokens", "20"],
    "plot": ["plot", "RUN"],
    "report": ["report", "outputs/long"],
    "diff": ["diff", "RUN", "RUN"],
    "export --to tensorboard": ["export", "RUN", "--to", "tensorboard"],
}


def main(words: list[str]) -> None:
    many = int(words[0]) if words else 1_000_000
    folder = Path(tempfile.mkdtemp())
    try:
        runs = [interrupted(folder / str(lines), lines) for lines in (many, FEW)]
        size = (runs[0] / "metrics.jsonl").stat().st_size
        print(f"metrics.jsonl of {many:,} lines, {size / 1e6:,.0f} MB; beside it one of {FEW}")
        for verb in words[1:] or VERBS:
            (long, peak), (short, usual) = (measured(verb, run) for run in runs)
            print(
                f"{verb:24} {long:6.1f} s {peak:6,.0f} MB; with {FEW} lines {short:4.1f} s "
                f"{usual:4,.0f} MB; {peak - usual:5,.0f} MB more",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)


def interrupted(folder: Path, lines: int) -> Path:
    """A run directory in `folder` as if it had been interrupted after so many lines."""
    folder.mkdir()
    os.chdir(folder)
    Path("text.txt").write_text("".join(random.Random(0).choices("to be or not ", k=5000)))
    last = EVERY * (lines - 1)
    config = from_overrides([*overrides(folder), "logger=none"])
    step = Trainer.train_step

    def stopped(self: Trainer) -> None:
        step(self)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    Trainer.train_step = stopped  # type: ignore[method-assign]
    run = run_experiment(config, Path("outputs")).path
    Trainer.train_step = step  # type: ignore[method-assign]
    assert run is not None
    state = {**checkpoint.read(run / "checkpoints/step-3.pt"), "step": last}
    Store(run / "checkpoints").save(state, last, best_step=0)
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    with (run / "metrics.jsonl").open("w") as file:
        for number in range(lines):
            file.write(json.dumps(row(number, lines, first)) + "\n")
    shutil.copytree("outputs", "interrupted")
    return folder / run


def overrides(folder: Path) -> list[str]:
    """The config of the run in a folder that is named by the number of its lines."""
    return [*SMALL, f"trainer.max_steps={EVERY * int(folder.name)}"]


def row(number: int, lines: int, first: dict[str, Any]) -> dict[str, Any]:
    """A line of a curve that falls and rises again; the first is what the run wrote itself."""
    if number == 0:
        return first
    step, noise = EVERY * number, random.random() / 50
    along = number / lines
    place = {"step": step, "tokens": 8 * step, "epoch": step / 562, "seconds": step / 317}
    if number % EVERY == 0:
        val = 3 - math.sin(3 * along) + noise
        losses = {"train/eval_loss": 3 - 2 * along + noise, "val/loss": val}
        return {**place, **losses, "val/bpb": 1.4427 * val, "val/stderr": noise}
    speed = {"train/grad_norm": 1 + noise, "train/tokens_per_second": 1e4 + 1e5 * noise}
    return {**place, "train/loss": 3 - 2 * along + noise, "train/lr": 1e-3 * (1 - along), **speed}


def measured(verb: str, run: Path) -> tuple[float, float]:
    """Median CPU seconds of a command in fresh processes, and its greatest peak memory in MB."""
    if verb != "resume" and not (run / "summary.json").exists():
        once("resume", run)
    found = []
    for _ in range(REPEATS):
        if verb == "resume":
            os.chdir(run.parents[2])
            shutil.rmtree("outputs")
            shutil.copytree("interrupted", "outputs")
        found.append(once(verb, run))
    return statistics.median(seconds for seconds, _ in found), max(peak for _, peak in found)


def once(verb: str, run: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of one process."""
    home = run.parents[2]
    first, *words = [str(run) if word == "RUN" else word for word in VERBS[verb]]
    if first == "run.py":
        command = [sys.executable, str(ROOT / "run.py"), *overrides(home), *words]
    else:
        command = [sys.executable, "-c", COMMAND, first, *words]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    seconds, peak = map(float, done.stdout.splitlines()[-1].split())
    return seconds, peak / (1e3 if sys.platform == "linux" else 1e6)


if __name__ == "__main__":
    main(sys.argv[1:])
