"""A search: trials of a study, trained one after another or a few at once, and listed. Torch-free.

The study is Optuna's. Each trial is a run as any other, in a directory of its own.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gptexp.analysis.groups import gathered
from gptexp.config import Config, flat, hashed_part, problems
from gptexp.config.own import own_code
from gptexp.config.search import SearchSettings, Space, search_settings
from gptexp.data.read import corpus_digest
from gptexp.errors import EXIT_BUG, EXIT_OK, EXIT_SIGNAL, ConfigError, GptexpError, StorageError
from gptexp.experiment.identity import named_init_from, start_of
from gptexp.experiment.start import find_base, named_path
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.state import NOT_STARTED, Outcome, RunState, ended_with
from gptexp.sweep.points import (
    TRIAL,
    WIDEST,
    SweepPoint,
    label_of,
    lead_of,
    led,
    points_of,
    show_outcome,
    train_point,
)
from gptexp.sweep.run import Launch, draw, ended, exit_code, reasons, settle, waiting
from gptexp.sweep.screen import show_end, show_pause
from gptexp.text import duration, plural

if TYPE_CHECKING:
    from gptexp.sweep.study import Study  # Optuna

log = logging.getLogger(__name__)

# Overrides of points -> their configs; raises for what no point may have
Compose = Callable[[list[list[str]]], Sequence[Config | ConfigError]]

OPEN = {  # what says nothing of a trial's values: the same command takes it up again
    *(RunState.interrupted, RunState.killed, RunState.in_use, RunState.not_started),
}


def run_search(
    settings: SearchSettings, space: Space, compose: Compose, launch: Launch | None
) -> int:
    """Train trials until the study has enough, and list all of them; returns the exit code.

    It is 0 where one has a result: the others may have failed. Raises GptexpError before anything
    is made where no trial can work, and for a study that is damaged or of another config.
    """
    config = checked_config(space, compose)
    identity = identity_of(config)
    from gptexp.sweep.study import Study

    study = Study(settings, OUTPUTS / config.name)
    study.agree(identity, space)
    return Search(study, space, compose, launch).run()


def checked_config(space: Space, compose: Compose) -> Config:
    """The config of a point of the space, once each key was seen to take its values.

    Raises ConfigError for what is wrong with all points, and what Hydra raises for one that has an
    unknown key, type or choice.
    """
    composed = zip(space.corners, compose(space.corners), strict=True)
    corners = [point.config for point in points_of(composed)]
    wrong = [list(c.problems) if isinstance(c, ConfigError) else problems(c) for c in corners]
    ConfigError.raise_for(p for p in wrong[0] if all(p in others for others in wrong))
    configs = [config for config in corners if isinstance(config, Config)]
    if not configs:
        raise ConfigError(*wrong[0])
    return configs[0]


def identity_of(config: Config) -> dict[str, Any]:
    """What tells a run from others, flat; raises GptexpError where its files cannot be read."""
    start = None
    if config.branch_from is not None:
        start = find_base(config.branch_from).digest()
    elif config.init_from is not None:
        with named_init_from():
            start = start_of(named_path(config.init_from)).untold
    part = hashed_part(config, corpus_digest(config.data), start)
    return flat({**part, "code": own_code(config)})


def told_trial(
    environment: Mapping[str, str], node: Any, config: Config
) -> Callable[[int, float], bool] | None:
    """What the run of this process asks at its evaluations; None where no search of ours sent it.

    `node` is hydra.sweeper. Raises GptexpError.
    """
    if (number := environment.get(TRIAL)) is None:
        return None
    from gptexp.sweep.study import Study

    return Study(search_settings(node), OUTPUTS / config.name).should_prune(int(number))


def stays_open(outcome: Outcome) -> bool:
    """Whether the same command is to take a trial up again, as after a disk that was full."""
    return outcome.state in OPEN or outcome.error_code == StorageError.exit_code


class Search:
    """The trials of a study, trained in this process or by a launcher."""

    def __init__(
        self, study: "Study", space: Space, compose: Compose, launch: Launch | None
    ) -> None:
        self.study = study
        self.space = space
        self.compose = compose
        self.launch = launch
        self.at_once = 1 if launch is None else study.settings.n_jobs
        self.points: dict[int, SweepPoint] = {}  # by the numbers of their trials
        self.left_open: list[int] = []  # trials of earlier commands, which are the first
        self.started = time.monotonic()
        self.trained = 0  # trials, by this command

    def run(self) -> int:
        """Train, and list all trials; returns the exit code."""
        self.left_open = self.study.open_trials()
        self.recall()
        if self.points:
            log.info("over before   %d of %s", len(self.points), plural(self.count, "trial"))
        code = ended(self.train)
        with contextlib.suppress(GptexpError):  # which was shown
            self.recall()
        points = [self.points[number] for number in sorted(self.points)]
        settle(points)
        draw(points)
        if (best := self.best()) is not None:
            words = " ".join(self.words(self.points[best]))
            log.info("\nbest trial %d: %s", best + 1, words)
        if points:
            show_end(points)
        code = code or self.exit_code()
        if code > EXIT_SIGNAL:
            show_pause(points, self.count)
        return code

    @property
    def count(self) -> int:
        """How many trials there are to be, or are."""
        return max(self.study.settings.n_trials, len(self.points))

    def __str__(self) -> str:
        """How far the search is, the lowest loss so far, and how long the rest takes."""
        over = sum(not stays_open(point.outcome) for point in self.points.values())
        progress = f"{over} of {plural(self.count, 'trial')} over"
        if (rest := self.count - over) and self.trained:
            spent = time.monotonic() - self.started
            progress += f", about {duration(spent / self.trained * rest)} left"
        if (best := self.best()) is None:
            return progress
        loss = self.points[best].outcome.best_val_loss
        return f"{progress}; lowest {loss:.4f} in trial {best + 1}"

    def best(self) -> int | None:
        """The number of the trial with the lowest loss; None where none has a result."""
        losses = [
            (loss, number)
            for number, point in self.points.items()
            if (loss := point.outcome.best_val_loss) is not None
        ]
        return min(losses)[1] if losses else None

    def exit_code(self) -> int:
        """Of a search that nobody interrupted."""
        left = exit_code(p for p in self.points.values() if stays_open(p.outcome))
        return left or (EXIT_BUG if self.best() is None else EXIT_OK)

    def recall(self) -> None:
        """Have a point for each trial that is over by an earlier command or another process."""
        known = {n: trial for n, trial in self.study.over().items() if n not in self.points}
        points = self.points_with([words for words, _ in known.values()])
        for (number, (_, outcome)), point in zip(known.items(), points, strict=True):
            self.add(number, point, outcome)

    def points_with(self, searched: list[list[str]]) -> list[SweepPoint]:
        """Points of these overrides beside the fixed ones."""
        overrides = [[*self.space.fixed, *words] for words in searched]
        return points_of(zip(overrides, self.compose(overrides), strict=True))

    def add(self, number: int, point: SweepPoint, outcome: Outcome) -> None:
        """Take a point as that of a trial."""
        point.trial, point.outcome = number, outcome
        point.label = label_of(self.words(point), point.config)
        self.points[number] = point

    def words(self, point: SweepPoint) -> list[str]:
        """The overrides that the search gave it."""
        return point.overrides[len(self.space.fixed) :]

    def train(self) -> None:
        """Train trials until there are enough, or one is interrupted or the disk refuses."""
        while batch := self.next():
            jobs = self.to_train(batch)
            if self.launch is None:
                for point in jobs:
                    self.train_here(point)
            elif jobs:
                self.have_trained(jobs, self.launch)
            codes = {point.outcome.exit_code for point in batch}
            if max(codes) > EXIT_SIGNAL or StorageError.exit_code in codes:
                break

    def next(self) -> list[SweepPoint]:
        """The trials to be trained now, those first that were left open; none if there are enough.

        All of a study count, whatever became of them.
        """
        numbers, self.left_open = self.left_open[: self.at_once], self.left_open[self.at_once :]
        room = self.study.settings.n_trials - self.study.count()
        numbers += [self.study.begin() for _ in range(min(room, self.at_once - len(numbers)))]
        points = self.points_with([self.study.draw(number, self.space) for number in numbers])
        for number, point in zip(numbers, points, strict=True):
            self.add(number, point, NOT_STARTED)
        width = min(WIDEST, max((len(point.label) for point in self.points.values()), default=0))
        for number, point in zip(numbers, points, strict=True):
            point.lead = lead_of(number + 1, self.count, point.label, width)
        return points

    def to_train(self, batch: Sequence[SweepPoint]) -> list[SweepPoint]:
        """Those of the batch that are to be trained; what became of the others is told."""
        for point in batch:
            if refusals := reasons(point.config):
                with led(point):
                    point.outcome = ended_with(ConfigError(*refusals))
        jobs = waiting(batch)
        for point in (point for point in batch if point not in jobs):
            self.tell(point, point.outcome)
            show_outcome(point.lead, point.outcome, str(self))
        if jobs and jobs[0].lead is not None and not self.trained:
            jobs[0].lead = replace(jobs[0].lead, first=True)
        return jobs

    def train_here(self, point: SweepPoint) -> None:
        """Train a trial in this process."""
        assert isinstance(point.config, Config)
        assert point.trial is not None

        def whole(outcome: Outcome) -> str:
            self.tell(point, outcome)
            self.trained += 1
            return str(self)

        ask = self.study.should_prune(point.trial)
        train_point(point.config, point.overrides, point.lead, whole, ask)

    def have_trained(self, jobs: Sequence[SweepPoint], launch: Launch) -> None:
        """Have trials trained in other processes; those that drew the same values are one run."""
        assert jobs[0].trial is not None
        runs = gathered(jobs, lambda point: point.outcome.path).values()
        outcomes = launch([points[0] for points in runs], jobs[0].trial)
        for points, outcome in zip(runs, outcomes, strict=True):
            for point in points:
                self.tell(point, outcome or point.outcome)
        self.trained += len(jobs)
        log.info("%s", self)

    def tell(self, point: SweepPoint, outcome: Outcome) -> None:
        """Take what came of a trial, and have the study know it if the trial is over."""
        point.outcome = outcome
        if not stays_open(outcome):
            assert point.trial is not None
            self.study.tell(point.trial, outcome)
