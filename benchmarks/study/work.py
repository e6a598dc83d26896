"""A study's points trained one after another, each to a line."""

import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks.study import lines
from benchmarks.study.lines import Cliff, Line, Loss, Machine
from benchmarks.study.points import Study, StudyPoint
from gptexp import console
from gptexp.analysis.cliff import curve_points
from gptexp.config import Config, flat, from_overrides, to_dict
from gptexp.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_SIGNAL
from gptexp.runs.directory import RunDirectory, code_digest
from gptexp.runs.journal import evaluations, lowest
from gptexp.runs.provenance import cpu, git
from gptexp.runs.state import Outcome, RunState
from gptexp.sweep.points import lead_of, train_point
from gptexp.sweep.run import ended

AVERAGE = "val/ema_loss"
RETRIED = ("failed",)  # a line of these is no reason not to try again


def train(study: Study, file: Path, minutes: float | None = None) -> int:
    """Train what has no line, until all have, or the time is over; returns an exit code.

    Each point is tried once. One that another process trains is left to it.
    """
    tried: set[str] = set()
    code = EXIT_OK

    def work() -> None:
        nonlocal code
        while (found := next_point(study, file, tried)) is not None:
            point, place, count = found
            tried.add(point.hash)
            outcome, line = trained(point, place, count)
            if line is not None:
                lines.add(file, line)
            if outcome.exit_code > EXIT_SIGNAL:
                code = outcome.exit_code
                return
            code = code or outcome.exit_code

    with console.shown(), stopped_after(minutes) as is_over:
        interrupted = ended(work)
    code = interrupted or code
    return EXIT_OK if code == EXIT_INTERRUPTED and is_over() else code


def next_point(study: Study, file: Path, tried: set[str]) -> tuple[StudyPoint, int, int] | None:
    """The first point without a line, its place among all, and how many these are.

    Lines are read anew: other processes add theirs, and what they train is left to them.
    """
    known = lines.read(file)
    over = {line.hash for line in known if line.state not in RETRIED} | tried
    points = study.resolved(known)
    for place, point in enumerate(points, start=1):
        if not point.waits and point.hash not in over and not point.directory.held():
            return point, place, len(points)
    return None


@contextmanager
def stopped_after(minutes: float | None) -> Iterator[Callable[[], bool]]:
    """Ctrl-C by itself when the time is over; gives whether that was it."""
    over = False

    def ring(*_: object) -> None:
        nonlocal over
        over = True
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0 if minutes is None else 60 * minutes)
    try:
        yield lambda: over
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def trained(point: StudyPoint, place: int, count: int) -> tuple[Outcome, Line | None]:
    """Train a point, or take what stands; its line, where it is over."""
    directory = point.directory
    is_new, before = not directory.path.exists(), time.process_time()
    lead = replace(lead_of(place, count, point.label, len(point.label)), first=place == 1)
    outcome = train_point(point.config, point.overrides, lead)
    spent = time.process_time() - before
    state = "done" if outcome.state is RunState.already_done else str(outcome.state)
    if state not in lines.FOUND:
        return outcome, None
    line = Line(
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        stage=point.stage,
        label=point.label,
        state=state,
        overrides=point.overrides,
        hash=point.hash,
        config=unlike_default(point.config),
        marks=point.marks,
        error=outcome.error,
        machine=machine(directory),
    )
    if state != "done" or outcome.path is None:
        return outcome, line
    whole = is_new and outcome.state is RunState.done and not outcome.note
    return outcome, measured(line, RunDirectory(outcome.path), spent if whole else None)


def measured(line: Line, directory: RunDirectory, cpu_seconds: float | None) -> Line:
    """The line with what a finished run came to."""
    summary = directory.summary()
    assert summary is not None, "a run that is done has a summary"
    rows = list(evaluations(directory.path))
    fall, best = summary["cliff"], summary["best"]
    onset = None if fall is None else fall["onset"]
    average = lowest(rows, AVERAGE) if any(AVERAGE in row for row in rows) else None
    return msgspec.structs.replace(
        line,
        seconds=summary["seconds"],
        cpu_seconds=cpu_seconds,
        params=summary["params"]["total"],
        params_non_embedding=summary["params"]["non_embedding"],
        unique=directory.manifest().get("data", {}).get("tokens", {}).get("train"),
        tokens=summary["tokens"],
        flops=summary["flops"],
        best=None if best is None else _loss(best),
        final=_loss(summary["final"]),
        average=None if average is None else _of_average(average),
        cliff=None
        if fall is None
        else Cliff(fall["verdict"], None if onset is None else onset["step"], fall["height"]),
        curve=[(p.step, p.tokens, p.val_loss, p.train_loss) for p in curve_points(rows)],
        average_curve=[row[AVERAGE] for row in rows if AVERAGE in row],
    )


def machine(directory: RunDirectory) -> Machine:
    """Where this process trains, and by which code."""
    manifest = directory.manifest() if directory.path.exists() else {}
    where, found = manifest.get("environment", {}), manifest.get("git") or git()
    return Machine(
        cpu=where.get("cpu", cpu()),
        device=where.get("device", "cpu"),
        threads=where.get("threads", torch.get_num_threads()),
        torch=str(torch.__version__),
        python=platform.python_version(),
        commit=found.get("commit", ""),
        dirty=bool(found.get("changed")),
        code=code_digest(manifest),
    )


def unlike_default(config: Config) -> dict[str, Any]:
    """The values that are not those of a run without overrides, by key."""
    values, plain = flat(to_dict(config)), _defaults()
    return {key: value for key, value in values.items() if value != plain.get(key)}


@cache
def _defaults() -> dict[str, Any]:
    return flat(to_dict(from_overrides([])))


def _loss(values: Any) -> Loss:
    return Loss(
        step=values["step"],
        tokens=values["tokens"],
        loss=values["val_loss"],
        bpb=values["val_bpb"],
        train=values["train_loss"],
    )


def _of_average(row: dict[str, Any]) -> Loss:
    return Loss(row["step"], row["tokens"], row[AVERAGE], None, None)
