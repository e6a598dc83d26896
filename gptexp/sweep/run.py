"""The points of a sweep: looked at before the first job, and listed after the last. Torch-free."""

import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

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

log = logging.getLogger(__name__)

IN_USE = InUseError.exit_code


@dataclass
class SweepPoint:
    """One combination of a sweep's overrides."""

    overrides: list[str]
    config: Config | ConfigError  # or why there is none
    outcome: Outcome = NOT_STARTED
    stamp: tuple[int, int] | None = None  # of its status.json before the first job


# Some points and the number of the first -> their outcomes; None for one that is lost
Launch = Callable[[Sequence[SweepPoint], int], Sequence[Outcome | None]]


def train_here(points: Sequence[SweepPoint], first: int) -> list[Outcome]:
    """The launch of points in this process: Hydra's own would compose each of them once more."""
    from gptexp.experiment.run import run_experiment

    return [
        run_experiment(point.config, overrides=point.overrides)
        for point in points
        if isinstance(point.config, Config)
    ]


def run_sweep(points: Sequence[SweepPoint], launch: Launch, at_once: int) -> int:
    """Train what is to be trained, `at_once` points to a launch; returns the exit code.

    What no process tells of its points, the disk tells: a worker may be killed, and another sweep
    may work in the same folder.
    """
    check(points)
    jobs, interrupted = waiting(points), EXIT_OK
    former_handlers = {number: signal.signal(number, _terminated) for number in endings()}
    try:
        for first in range(0, len(jobs), at_once):
            batch = jobs[first : first + at_once]
            if at_once == 1:
                announce(batch[0], points)
            outcomes = launch(batch, first)
            for point, outcome in zip(batch, outcomes, strict=True):
                point.outcome = outcome or point.outcome
            if exit_code(batch) > EXIT_SIGNAL:
                break  # no new one starts
    except GptexpError as error:
        ended_with(error)
    except _Terminated as error:
        interrupted = EXIT_SIGNAL + error.number
    except KeyboardInterrupt:
        interrupted = EXIT_INTERRUPTED
    finally:
        for number, handler in former_handlers.items():
            signal.signal(number, handler)
    settle(points)
    draw(points)
    log.info("\n%s", table(points))
    return interrupted or exit_code(points)


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
        cfg = point.config
        reasons = list(cfg.problems) if isinstance(cfg, ConfigError) else problems(cfg)
        if reasons:
            point.outcome = Outcome(RunState.refused, error=str(reasons[0]))
            log.info("refused       %s", changes(point, points))
        for problem in reasons:
            if problem not in shown:
                log.error("%s", problem)
            shown.add(problem)


def waiting(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """The points that are to be trained; one line for each that is over."""
    legal = [point for point in points if point.outcome is NOT_STARTED]
    for point in legal:
        assert isinstance(point.config, Config)
        point.outcome = outcome_before(point.config)
        if (path := point.outcome.directory) is not None:
            point.stamp = RunDirectory(path).status_stamp()
    return [point for point in legal if point.outcome.state is RunState.not_started]


def announce(point: SweepPoint, points: Sequence[SweepPoint]) -> None:
    """Log which point begins."""
    number = next(i for i, other in enumerate(points, start=1) if other is point)
    log.info("\npoint   %d of %d: %s", number, len(points), changes(point, points))


def settle(points: Iterable[SweepPoint]) -> None:
    """Ask the disk about points that no process told of, or that another process trained.

    What an earlier command left of a point that this sweep did not come to is not its outcome.
    """
    for point in points:
        path, state = point.outcome.directory, point.outcome.state
        if path is not None and state in (RunState.not_started, RunState.in_use):
            directory = RunDirectory(path)
            outcome = outcome_after(directory)
            untouched = state is RunState.not_started and directory.status_stamp() == point.stamp
            if outcome.state is RunState.in_use or not untouched:
                point.outcome = outcome


def draw(points: Iterable[SweepPoint]) -> None:
    """Draw the scaling curves of folders whose runs have TensorBoard; never in a sweep's way."""
    configs = [point.config for point in points if point.outcome.directory is not None]
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


def table(points: Sequence[SweepPoint]) -> str:
    """The last lines of a sweep: what each point changes, and what became of it."""
    counts = Counter(point.outcome.state for point in points)
    summed = ", ".join(f"{count} {state}" for state, count in counts.items())
    lines = [f"{len(points)} point{'s' if len(points) != 1 else ''}: {summed}"]
    lines.append(f"{'state':12} {'best val':>8}  point")
    for point in points:
        outcome = point.outcome
        best = "" if outcome.best_val_loss is None else f"{outcome.best_val_loss:.4f}"
        name = outcome.directory.name if outcome.directory else ""
        note = outcome.error or ", ".join(filter(None, [name, outcome.note]))
        lines.append(f"{outcome.state:12} {best:>8}  {changes(point, points)}  {note}".rstrip())
    return "\n".join(lines)


def changes(point: SweepPoint, points: Sequence[SweepPoint]) -> str:
    """The overrides of `point` that not all points share."""
    common = set(points[0].overrides).intersection(*(other.overrides for other in points))
    return " ".join(item for item in point.overrides if item not in common)
