"""The points of a sweep: what tells them apart, and how one is trained. Torch-free."""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass

from gptexp.analysis.labels import in_words
from gptexp.config import Config, flat, to_dict
from gptexp.config.words import in_quotes, literal, unquoted
from gptexp.console import Lead, led_by
from gptexp.errors import ConfigError
from gptexp.experiment.inherit import inherited
from gptexp.experiment.run import run_experiment
from gptexp.runs.state import NOT_STARTED, Outcome

log = logging.getLogger(__name__)

LEAD = "GPTEXP_LEAD"  # in the environment of a job that a launcher starts
TRIAL = "GPTEXP_TRIAL"  # likewise
VERBOSE = "GPTEXP_VERBOSE"  # 1 shows on the screen all that a single run says; so does -v

WIDEST = 40  # characters up to which labels are filled up, so that what follows is a column


@dataclass
class SweepPoint:
    """One combination of a sweep's overrides."""

    overrides: list[str]
    config: Config | ConfigError  # or why there is none
    outcome: Outcome = NOT_STARTED
    stamp: tuple[int, int] | None = None  # of its status.json before the first job
    label: str = ""  # what it changes, in words that no other point has
    lead: Lead | None = None  # of its lines; None for the only point of a sweep
    trial: int | None = None  # its number in a study

    def job(self) -> list[str]:
        """The overrides of its job in another process, which is told of the rest by Hydra."""
        env = {}
        if self.lead is not None:
            env[LEAD] = in_quotes(literal(json.dumps(asdict(self.lead) | {"shared": True})))
        if self.trial is not None:
            env[TRIAL] = f"'{self.trial}'"
        return [*self.overrides, *(f"+hydra.job.env_set.{k}={value}" for k, value in env.items())]


def points_of(composed: Iterable[tuple[list[str], Config | ConfigError]]) -> list[SweepPoint]:
    """The points of a grid's overrides and configs, with what comes along from init_from."""
    points = []
    for overrides, config in composed:
        try:
            whole = inherited(config, overrides) if isinstance(config, Config) else config
        except ConfigError as error:
            whole = error
        points.append(SweepPoint(overrides, whole))
    return points


def number(points: Sequence[SweepPoint]) -> None:
    """Give each point its label, and its lead: number and label."""
    named = labels(points)
    width = min(WIDEST, max(map(len, named), default=0))
    for place, (point, label) in enumerate(zip(points, named, strict=True), start=1):
        point.label = label
        if len(points) > 1:
            point.lead = lead_of(place, len(points), label, width)


def lead_of(place: int, count: int, label: str, width: int) -> Lead:
    """What tells a point from the others on the screen: its place among them, and its label."""
    details = os.environ.get(VERBOSE, "") not in ("", "0")
    return Lead(
        f"{place:>{len(str(count))}}/{count}  {label:<{width}}", details=details, label=label
    )


def labels(points: Sequence[SweepPoint]) -> list[str]:
    """What each point changes, as `lr=0.003 n_layer=2 s1`: the keys that the sweep varies.

    As it was typed where two points would be called the same.
    """
    common = set(points[0].overrides).intersection(*(point.overrides for point in points))
    varied = [[word for word in point.overrides if word not in common] for point in points]
    named = [label_of(words, point.config) for words, point in zip(varied, points, strict=True)]
    counts = Counter(named)
    return [
        label if counts[label] == 1 else " ".join(words)
        for label, words in zip(named, varied, strict=True)
    ]


def label_of(overrides: Sequence[str], config: Config | ConfigError) -> str:
    """Some overrides of a point in words, by the values that they come to."""
    known = flat(to_dict(config)) if isinstance(config, Config) else {}
    values = {}
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        values[key] = known.get(key, unquoted(value))
    return in_words(list(values), values)


@contextmanager
def led(point: SweepPoint) -> Iterator[None]:
    """Show what is said inside behind the point's lead, where it has one."""
    with nullcontext() if point.lead is None else led_by(point.lead):
        yield


def told(environment: Mapping[str, str]) -> Lead | None:
    """The lead of the point that this process is to train; None where no sweep of ours sent it."""
    text = environment.get(LEAD)
    return None if text is None else Lead(**json.loads(text))


def train_point(
    config: Config,
    overrides: list[str],
    lead: Lead | None,
    whole: Callable[[Outcome], str] | None = None,
    should_prune: Callable[[int, float], bool] | None = None,
) -> Outcome:
    """Train a point, with what is brief and its end behind its lead; all of it without one.

    `whole`, told of the outcome, says how far the sweep is; of `should_prune`: run_experiment.
    """
    if lead is None:
        return run_experiment(config, overrides=overrides, should_prune=should_prune)
    if lead.details and not lead.shared:
        log.info("\n%s", lead.words)
    with led_by(lead):
        outcome = run_experiment(
            config, overrides=overrides, label=lead.label, should_prune=should_prune
        )
    show_outcome(lead, outcome, "" if whole is None else whole(outcome))
    return outcome


def show_outcome(lead: Lead | None, outcome: Outcome, whole: str = "") -> None:
    """One line for the end of one point among several, and how far the sweep is."""
    if lead is None:
        return
    best = outcome.best_val_loss
    words = [str(outcome.state), "" if best is None else f"best {best:.4f}", outcome.note]
    end = ", ".join(filter(None, words))
    log.info("%s", lead.line("; ".join(filter(None, [end, whole]))))
