"""`gptexp table --watch`: the table drawn anew while runs are trained; elsewhere, a line a change.

It looks once a second, at what can have changed alone (see Memory), and ends when no run has been
running for a while: a sweep pauses between its points, and one may be about to begin.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from gptexp.analysis import columns
from gptexp.analysis.columns import Facts
from gptexp.analysis.groups import sort_key
from gptexp.analysis.labels import label_runs
from gptexp.analysis.memory import Memory
from gptexp.analysis.records import Run
from gptexp.analysis.render import Cells, cells, render_table, text_lines
from gptexp.analysis.table import Query, Table, View
from gptexp.console import show
from gptexp.errors import EXIT_OK, EXIT_SIGNAL, DamagedError, Problem
from gptexp.runs.state import RunState
from gptexp.text import duration, listed, plural, printable, short

SECONDS = 1.0  # between looks

QUIET = 30.0  # seconds without a running run, after which no other is waited for

# Columns that give way on a narrow terminal, the first one first.
LESSER = (
    *("run", "params", "test", "height", "best_step", "final", "flags", "folder"),
    *("mean_loss", "ema_loss", "tok/s", "val", "left", "step"),
)


def watch_runs(paths: Sequence[Path], query: Query) -> int:
    """Show the runs until none has been running for QUIET seconds; returns the exit code.

    A folder may be empty, or not be there yet. A signal ends the watch too. Raises ConfigError.
    """
    watch = Watch(paths, query)
    try:
        with _ended_by_signals():
            follow = draw if _is_terminal() else tell
            follow(watch)
    except _Ended as end:
        if watch.frame:
            show("\n".join(watch.frame))
        return EXIT_SIGNAL + end.number
    if watch.view is not None:
        show(render_table(watch.view.table(watch.damaged), "text"))
    return DamagedError.exit_code if watch.damaged else EXIT_OK


class Watch:
    """The runs of some folders as they were at the last look."""

    def __init__(self, paths: Sequence[Path], query: Query) -> None:
        self.paths = paths
        self.query = query
        self.memory = Memory()
        self.view: View | None = None  # None as long as there is no run
        self.facts: list[Facts] = []  # of the runs that meet the conditions
        self.damaged: list[Problem] = []
        self.frame: list[str] = []  # what a terminal shows
        self.last_running = time.monotonic()
        self._groups: tuple[list[Run], Table] | None = None

    def look(self) -> None:
        """Read what has changed since; raises ConfigError."""
        runs, self.damaged = self.memory.runs(self.paths)
        if self.view is None or self.view.runs != runs:
            self.view = View(runs, self.query, self.memory) if runs else None
        self.facts = [] if self.view is None else self.view.facts()
        if not runs or any(run.state is RunState.running for run in runs):
            self.last_running = time.monotonic()

    def groups(self, view: View) -> Table:
        """The groups, made anew when a run begins or ends: until then none of them is another."""
        runs = [item.run for item in self.facts]
        if self._groups is None or self._groups[0] != runs:
            self._groups = runs, view.table()
        return self._groups[1]

    @property
    def left(self) -> float:
        """Seconds until the watch ends, unless a run begins."""
        return self.last_running + QUIET - time.monotonic()

    def head(self) -> str:
        """What is watched, and how many runs are in which state."""
        if self.view is None:
            return f"{listed(self.paths)}: no run yet; waits for the first one, Ctrl-C ends it"
        if not self.facts:
            runs = plural(len(self.view.runs), "run")
            return f"{listed(self.paths)}: none of {runs} meets the conditions"
        states = Counter(item.run.state for item in self.facts)
        running = {RunState.running: states.pop(RunState.running, 0)}
        counts = ", ".join(f"{n} {state}" for state, n in {**running, **states}.items() if n)
        return f"{listed(self.paths)}: {plural(len(self.facts), 'run')}, {counts}"


def draw(watch: Watch) -> None:
    """Draw the table on a terminal, to its size, until the watch is over."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console, drawn = Console(highlight=False), None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while watch.left > 0:
            watch.look()
            width, height = console.size
            watch.frame = [printable(line)[:width] for line in frame(watch, width, height)]
            if drawn != (drawn := (width, height, watch.frame)):
                lines = Text("\n".join(watch.frame), no_wrap=True, overflow="ellipsis")
                live.update(lines, refresh=True)
            time.sleep(SECONDS)


def frame(watch: Watch, width: int, height: int) -> list[str]:
    """Lines for a terminal of that size: first the runs that are running, then the best."""
    if watch.view is None:
        return [watch.head()]
    foot = []
    if watch.left < QUIET - 2 * SECONDS:
        foot = ["", f"no run is running: ends in {watch.left:.0f} s unless one begins"]
    room = max(1, height - len(foot) - 4)  # for rows, beside the heads and what says how many more
    table, count = _rows(watch, watch.view, room)
    shown = cells(table)
    if not watch.query.columns:
        shown = fitting(shown, width)
    rows = text_lines(shown)[: room + 1]
    more = count - (len(rows) - 1)
    foot = ([f"and {more:,} more"] if rows and more > 0 else []) + foot
    return [watch.head(), "", *rows, *foot]


def _rows(watch: Watch, view: View, room: int) -> tuple[Table, int]:
    """The rows for so many lines, and how many there would be."""
    if view.by is not None:
        table = watch.groups(view)
        return table, len(table.rows)
    ordered = view.in_order(watch.facts)
    if not view.sort:
        others = [item for item in ordered if item.run.state is not RunState.running]
        others.sort(key=lambda item: sort_key(columns.value(item, "best")))
        ordered = [item for item in ordered if item.run.state is RunState.running] + others
    ordered = ordered[: view.query.limit]
    return view.shown(ordered[:room], watch.facts), len(ordered)


def fitting(shown: Cells, width: int) -> Cells:
    """The columns that fit into so many characters, without those that matter less."""
    widths = [
        max(map(len, cells)) + 2 for cells in zip(shown.heads, *shown.rows, strict=True)
    ]  # with what is between two columns
    kept = set(range(len(widths)))
    for column in LESSER:
        if sum(widths[i] for i in kept) - 2 <= width:
            break
        if column in shown.columns:
            kept.discard(shown.columns.index(column))
    return shown.only(sorted(kept))


def tell(watch: Watch) -> None:
    """A line for each run that is running, then for each change, until the watch is over."""
    watch.look()
    show(watch.head())
    marks = {i.run.path: _mark(i) for i in watch.facts if i.run.state is not RunState.running}
    view, labels = None, dict[Path, str]()
    while True:
        if watch.view is not None and watch.view is not view:
            view, labels = watch.view, label_runs(watch.view.runs)
        for item in watch.facts:
            if marks.get(item.run.path) != (mark := _mark(item)):
                marks[item.run.path] = mark
                show(f"{labels[item.run.path]}: {described(item)}")
        if watch.left <= 0:
            show("")  # the table follows
            return
        time.sleep(SECONDS)
        watch.look()


def _mark(item: Facts) -> tuple[RunState, int | None]:
    """What makes a line once it is another one: the state, and the step of the last evaluation."""
    return item.run.state, None if item.progress is None else item.progress.evaluated


def described(item: Facts) -> str:
    """Where a run is, in a line."""
    state, steps = item.run.state, columns.value(item, "step")
    values = {name: columns.value(item, name) for name in ("val", "best", "tok/s", "left")}
    losses = [f"{name} {values[name]:.4f}" for name in ("val", "best") if values[name] is not None]
    if state is not RunState.running:
        losses = losses[1:] if state is RunState.done else losses
        words = ", ".join([f"{state} at step {steps}" if steps else str(state), *losses])
        return f"{words}: {item.run.reason}" if item.run.reason else words
    speed = [] if values["tok/s"] is None else [f"{short(values['tok/s'])} tok/s"]
    left = [] if values["left"] is None else [f"{duration(values['left'])} left"]
    return ", ".join([f"step {steps}" if steps else "begins", *losses, *speed, *left])


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class _Ended(KeyboardInterrupt):
    """A signal to end the watch."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _end(number: int, _: object) -> NoReturn:
    raise _Ended(number)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise _Ended at a signal that is not ignored, so that a terminal is left as it was."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last one
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in former.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _end)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
