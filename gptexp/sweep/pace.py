"""How far a sweep is, and how long the rest of it will take. Torch-free until that is asked."""

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from gptexp.config import BPETokenizerConfig, Config, GPT2TokenizerConfig, TokenizerConfig
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import LAST
from gptexp.runs.state import RunState
from gptexp.sweep.points import SweepPoint
from gptexp.text import duration

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two looks at what other processes train

# Tokens of a vocabulary that is not known, and of a text: of costs, ratios are all that counts.
VOCABULARY, TEXT = 100, 1_000_000


class Pace:
    """The jobs of a sweep: those in training, and those that are over with the time they took."""

    def __init__(self, total: int, jobs: Sequence[SweepPoint]) -> None:
        self.total = total  # points, with those that need no job
        self.directories = [RunDirectory(p.outcome.path) for p in jobs if p.outcome.path]
        self.stamps = [point.stamp for point in jobs]
        self.configs = [point.config for point in jobs if isinstance(point.config, Config)]
        self.fresh = [not (d.checkpoints / LAST).exists() for d in self.directories]
        self.began: dict[int, float] = {}  # on the monotonic clock, by place among the jobs
        self.over: set[int] = set()
        self.at_once = 1  # the most that were seen in training together
        self.seconds: dict[int, float] = {}  # of those that were trained from start to end

    def begin(self, place: int) -> None:
        """Note that a job trains."""
        self.began.setdefault(place, time.monotonic())

    def end(self, place: int, trained: bool) -> None:
        """Note that a job is over, and whether it was trained to its end."""
        self.over.add(place)
        if trained and self.fresh[place] and place in self.began:
            self.seconds[place] = time.monotonic() - self.began[place]

    def __str__(self) -> str:
        over = self.total - len(self.directories) + len(self.over)
        left = self.seconds_left()
        rest = "" if left is None else f", about {duration(left)} left"
        return f"{over} of {self.total} points over{rest}"

    def seconds_left(self) -> float | None:
        """An estimate of the time until all are over; None while there is nothing to go by.

        A job takes as long as those that cost about as much, and more or less by its share.
        """
        rest = [place for place in range(len(self.directories)) if place not in self.over]
        if not rest or not self.seconds:
            return None
        now = time.monotonic()
        spent = {place: now - self.began.get(place, now) for place in rest}
        left = sum(max(0.0, self._expected(place) - spent[place]) for place in rest)
        return left / min(self.at_once, len(rest))

    def _expected(self, place: int) -> float:
        """Seconds that a job takes from start to end."""
        own = self.costs[place]
        apart = {other: abs(math.log(own / self.costs[other])) for other in self.seconds}
        nearest = min(apart.values())
        near = [other for other in apart if apart[other] == nearest]
        share = sum(self.seconds[other] / self.costs[other] for other in near) / len(near)
        return share * own

    @cached_property
    def costs(self) -> list[float]:
        """FLOPs of each job, but for a factor that all have in common."""
        kinds = {repr((c.model, c.tokenizer, c.trainer, c.data.fraction)) for c in self.configs}
        return [cost(config) if len(kinds) > 1 else 1.0 for config in self.configs]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the disk while other processes train; say how far they are as a job ends."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_SECONDS):
                before = len(self.over)
                self.look()
                if len(self.over) > before:
                    log.info("%s", self)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def look(self) -> None:
        """Ask each directory what became of its job."""
        for place, (directory, stamp) in enumerate(zip(self.directories, self.stamps, strict=True)):
            if place in self.over or directory.status_stamp() in (None, stamp):
                continue
            status = directory.status()
            if status is not None and status["state"] == RunState.running:
                self.begin(place)
            elif status is not None:
                self.end(place, trained=status["state"] == RunState.done)
        self.at_once = max(self.at_once, len(self.began.keys() - self.over))


def cost(config: Config) -> float:
    """FLOPs of a run on a text of a common size."""
    from gptexp.models.counts import flops_per_token  # torch

    cfg = config.trainer
    if cfg.max_flops is not None:
        return cfg.max_flops
    tokens: float = cfg.max_steps * cfg.rows * config.model.block_size
    if cfg.max_tokens is not None:
        tokens = cfg.max_tokens
    elif cfg.max_epochs is not None:
        tokens = cfg.max_epochs * config.data.fraction * TEXT
    # An own model, of a table alone, may say 0, of which nothing is a share.
    return max(1, flops_per_token(config.model, _vocabulary(config.tokenizer))) * tokens


def _vocabulary(cfg: TokenizerConfig) -> int:
    """The tokens of a vocabulary, about, without its text."""
    match cfg:
        case BPETokenizerConfig():
            return cfg.vocab_size
        case GPT2TokenizerConfig():
            return 50_257
    return VOCABULARY
