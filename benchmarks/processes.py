"""Measurements in fresh processes: memory, the way to the first step, and `--cfg job`."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import ROOT
from benchmarks.table import Row, over

CHILD = Path(__file__).with_name("child.py")
MEMORY_STEPS = 5


def memory(overrides: list[str], runs: int, folder: Path) -> Iterator[Row]:
    """Peak memory of a few steps, of trainer and textbook in turn, beside the estimate."""
    found: dict[str, list[dict[str, float]]] = {"trainer": [], "textbook": []}
    for index in range(runs):
        for side, peaks in found.items():
            words = ["memory", side, str(MEMORY_STEPS), *overrides]
            peaks.append(child(words, folder / f"{side}{index}"))
    for kind in found["textbook"][0]:
        ours = [peak[kind] for peak in found["trainer"]]
        theirs = [peak[kind] for peak in found["textbook"]]
        yield Row(f"peak memory, {kind}: trainer", ours, "MB")
        yield Row(f"peak memory, {kind}: textbook loop", theirs, "MB")
        yield Row(f"peak memory, {kind}: trainer / textbook", over(ours, theirs))
    training = [peak["training"] for peak in found["trainer"]]
    estimate = [peak["estimate"] for peak in found["trainer"]]
    yield Row("of it training: trainer", training, "MB")
    yield Row("the estimate of gptexp params", estimate, "MB")
    yield Row("estimate / training", over(estimate, training))


def start(overrides: list[str], device: str, runs: int, folder: Path) -> Iterator[Row]:
    """Seconds from typing `python run.py` to the first step, and what they are made of.

    The rest is what remains without `import torch` and the first optimizer, as a fresh process
    beside each run shows them, and without the passes of forecast and evaluation.
    """
    found: dict[str, list[dict[str, float]]] = {"torch": [], "none": [], "tensorboard": []}
    for index in range(-1 if runs > 1 else 0, runs):
        for name, rounds in found.items():
            action, words = "first-step", [*overrides, f"logger={name}"]
            if name == "torch":
                action, words = "optimizer", [device]
            took = child([action, str(time.time()), *words], folder / f"{name}{index}")
            if index >= 0:  # the round before it warms up the disk
                rounds.append(took)
    alone = [took["total"] for took in found["torch"]]
    yield Row("import torch and build an optimizer", alone, "s")
    for name in ("none", "tensorboard"):
        rounds = found[name]
        yield Row(f"to the first step, logger={name}", [took["total"] for took in rounds], "s")
        for label in ("forecast", "evaluation", "save"):
            yield Row(f"  of it {label} at step 0", [took[label] for took in rounds], "s")
        rest = [
            took["total"] - took["forecast"] - took["evaluation"] - torch
            for took, torch in zip(rounds, alone, strict=True)
        ]
        yield Row("  rest, without torch, forecast, evaluation", rest, "s", at_most=0.4)


def start_and_end(
    overrides: list[str], theirs: list[str] | None, rounds: int, folder: Path
) -> dict[str, list[float]]:
    """Seconds of a run of one step in a fresh process, without its step, evaluations and saves.

    And those of nanoGPT, where `theirs` are the words for its child.
    """
    one = ["trainer.max_steps=1", "schedule.warmup_steps=0", "trainer.sample_interval=0"]
    words = {"trainer": ["whole", *overrides, *one, "logger=none"]}
    if theirs is not None:
        words["nanoGPT"] = theirs
    found: dict[str, list[float]] = {name: [] for name in words}
    for index in range(-1 if rounds > 1 else 0, rounds):  # the round before warms up the disk
        for name, arguments in words.items():
            began = time.perf_counter()
            pieces = child(arguments, folder / f"{name}{index}")["pieces"]
            if index >= 0:
                found[name].append(time.perf_counter() - began - pieces)
    return found


def cfg_job(overrides: list[str], runs: int, folder: Path) -> Iterator[Row]:
    """Seconds of `python run.py --cfg job`."""
    command = [sys.executable, str(ROOT / "run.py"), *overrides, "--cfg", "job"]
    seconds = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    yield Row("python run.py --cfg job", seconds[1:], "s", at_most=0.5)


def child(words: list[str], folder: Path) -> dict[str, float]:
    """The last line of a fresh child.py that works in its own folder."""
    folder.mkdir()
    command = [sys.executable, str(CHILD), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result
