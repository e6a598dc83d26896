"""A sweep: its points looked at before the first job, trained, and listed. Torch-free."""

import logging
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NoReturn

from gptexp import plugins
from gptexp.config import Config, problems
from gptexp.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SIGNAL,
    ConfigError,
    GptexpError,
    InUseError,
    Problem,
)
from gptexp.experiment.lifecycle import outcome_after, outcome_before
from gptexp.runs.directory import OUTPUTS, RunDirectory
from gptexp.runs.state import NOT_STARTED, Outcome, RunState, ended_with
from gptexp.runtime.interrupt import endings
from gptexp.sweep.pace import Pace
from gptexp.sweep.points import SweepPoint, led, number, train_point
from gptexp.sweep.screen import show_end, show_over, show_pause

log = logging.getLogger(__name__)

IN_USE = InUseError.exit_code


# Some points and the number of the first -> their outcomes; None for one that is lost
Launch = Callable[[Sequence[SweepPoint], int], Sequence[Outcome | None]]


def run_sweep(points: Sequence[SweepPoint], launch: Launch | None, at_once: int) -> int:
    """Train what is to be trained, `at_once` points to a launch; returns the exit code.

    Without a launch they are trained in this process: Hydra's own would compose each of them once
    more. What no process tells of its points, the disk tells: a worker may be killed, and another
    sweep may work in the same folder.
    """
    number(points)
    check(points)
    jobs = waiting(points)
    if jobs and jobs[0].lead is not None:
        jobs[0].lead = replace(jobs[0].lead, first=True)
    show_over(points)
    pace = Pace(len(points), jobs)

    def train() -> None:
        if launch is None:
            train_here(jobs, pace)
        else:
            with pace.watched():
                have_trained(jobs, launch, at_once)

    interrupted = ended(train)
    settle(points)
    draw(points)
    show_end(points)
    code = interrupted or exit_code(points)
    if code > EXIT_SIGNAL:
        show_pause(points, len(points))
    return code


def ended(train: Callable[[], None]) -> int:
    """Train, and show what ends it before its time; returns its exit code, or 0."""
    former_handlers = {number: signal.signal(number, _terminated) for number in endings()}
    try:
        train()
    except GptexpError as error:
        return ended_with(error).exit_code
    except _Terminated as error:
        return EXIT_SIGNAL + error.number
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        for signal_number, handler in former_handlers.items():
            signal.signal(signal_number, handler)
    return EXIT_OK


def train_here(jobs: Sequence[SweepPoint], pace: Pace) -> None:
    """Train each point in this process, until one is interrupted."""
    for place, point in enumerate(jobs):
        assert isinstance(point.config, Config)
        pace.begin(place)

        def over(outcome: Outcome, place: int = place) -> str:
            pace.end(place, trained=outcome.state is RunState.done and not outcome.note)
            return str(pace)

        point.outcome = train_point(point.config, point.overrides, point.lead, over)
        if point.outcome.exit_code > EXIT_SIGNAL:
            break  # no new one starts


def have_trained(jobs: Sequence[SweepPoint], launch: Launch, at_once: int) -> None:
    """Have each point trained, `at_once` to a launch, until one is interrupted."""
    for first in range(0, len(jobs), at_once):
        batch = jobs[first : first + at_once]
        outcomes = launch(batch, first)
        for point, outcome in zip(batch, outcomes, strict=True):
            point.outcome = outcome or point.outcome
        if exit_code(batch) > EXIT_SIGNAL:
            break


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, as launchers understand it: else joblib's workers would train on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _terminated(number: int, _: object) -> NoReturn:
    raise _Terminated(number)


def check(points: Sequence[SweepPoint]) -> None:
    """Refuse the points whose values cannot work: each is listed, each distinct problem shown."""
    shown: set[Problem] = set()
    for point in points:
        if refusals := reasons(point.config):
            point.outcome = Outcome(RunState.refused, error=str(refusals[0]))
            log.info("refused       %s", point.lead.line("") if point.lead else point.label)
        for problem in refusals:
            if problem not in shown:
                log.error("%s", problem)
            shown.add(problem)


def reasons(config: Config | ConfigError) -> list[Problem]:
    """Why a point cannot be trained; own code is imported for it."""
    if isinstance(config, ConfigError):
        return list(config.problems)
    if wrong := problems(config):
        return wrong
    try:
        plugins.load(config.plugins)
    except ConfigError as error:
        return list(error.problems)
    return []


def waiting(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """The points that are to be trained; the errors of those that cannot be are shown."""
    legal = [point for point in points if point.outcome is NOT_STARTED]
    for point in legal:
        assert isinstance(point.config, Config)
        with led(point):
            point.outcome = outcome_before(point.config, point.overrides)
        if (path := point.outcome.path) is not None:
            point.stamp = RunDirectory(path).status_stamp()
    jobs = [point for point in legal if point.outcome.state is RunState.not_started]
    jobs.sort(key=_length)
    return jobs


def _length(point: SweepPoint) -> float:
    """The length of a point's trunk, of which a shorter one is to come first; 0 without one.

    In steps, or as its budget has it.
    """
    assert isinstance(point.config, Config)
    cfg = point.config.trainer
    [length] = [getattr(cfg, key) for key in cfg.budgets] or [cfg.max_steps]
    share: float = point.config.schedule.trunk_share
    return share * length


def settle(points: Iterable[SweepPoint]) -> None:
    """Ask the disk about points that no process told of, or that another process trained.

    What an earlier command left of a point that this sweep did not come to is not its outcome.
    """
    for point in points:
        path, state = point.outcome.path, point.outcome.state
        if path is not None and state in (RunState.not_started, RunState.in_use):
            directory = RunDirectory(path)
            outcome = outcome_after(directory)
            untouched = state is RunState.not_started and directory.status_stamp() == point.stamp
            if outcome.state is RunState.in_use or not untouched:
                point.outcome = outcome


def draw(points: Iterable[SweepPoint]) -> None:
    """Draw the scaling curves of folders whose runs have TensorBoard; never in a sweep's way."""
    configs = [point.config for point in points if point.outcome.path is not None]
    names = {c.name for c in configs if isinstance(c, Config) and c.logger.tensorboard}
    for folder in (OUTPUTS / name for name in sorted(names)):
        try:
            from gptexp.analysis.records import collect
            from gptexp.report.scaling_curve import draw

            draw(folder, collect([folder])[0])
        except Exception as error:
            log.warning("TensorBoard has no scaling curve of %s: %s", folder, error)


def exit_code(points: Iterable[SweepPoint]) -> int:
    """128 and the signal if interrupted, 1 if a point failed, 6 if others train one, else 0."""
    codes = {point.outcome.exit_code for point in points} - {EXIT_OK}
    if interrupted := [code for code in codes if code > EXIT_SIGNAL]:
        return max(interrupted)
    return EXIT_BUG if codes - {IN_USE} else IN_USE if codes else EXIT_OK
