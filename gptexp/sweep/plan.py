"""`gptexp plan`: what a sweep would train, what that would cost, and what of it is there."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gptexp.config import Config, check, grid
from gptexp.data.corpus import Corpus
from gptexp.data.load import LoadedCorpus
from gptexp.errors import ConfigError, GptexpError
from gptexp.experiment.extend import beginnings
from gptexp.experiment.identity import Identity, identify, to_be_replaced
from gptexp.experiment.prepare import (
    TooLargeError,
    budgeted,
    check_memory,
    least_memory,
    load_text,
    read_init,
)
from gptexp.experiment.reuse import others
from gptexp.experiment.speed import speed_by_copy, speed_of
from gptexp.models.counts import flops_per_token, total_parameters
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.entries import LAST, read_entry
from gptexp.runs.state import RunState
from gptexp.runtime.device import (
    Runtime,
    cpu_threads,
    device_problems,
    probe_hardware,
    resolve_runtime,
)
from gptexp.sweep.points import SweepPoint, number, points_of
from gptexp.text import aligned, duration, plural, short
from gptexp.training import throughput
from gptexp.training.throughput import Speed

REFUSED = (RunState.refused, *[""] * 7)  # cells of a point that nothing is known of
HEADER = ("state", "params", "steps", "tokens", "epochs", "FLOPs", "memory", "time", "point")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the model and the training of one point of a sweep are."""

    params: int
    steps: int
    tokens: int
    epochs: float  # of its training set
    flops: float


@dataclass(frozen=True, kw_only=True)
class Cost(Size):
    """What one point of a sweep would cost, and what of it is there."""

    state: str  # see progress()
    memory: int  # bytes, at least
    seconds: float  # for the whole run, on this machine, one after another; NaN if not timed
    left: float  # share of the run that is still to train
    machine: str  # what it would train on


class Planner:
    """Works out points one by one; corpora are read, and models timed, once for each kind."""

    def __init__(self, outputs: Path) -> None:
        self.hardware = probe_hardware()
        self.outputs = outputs
        self.texts: dict[str, LoadedCorpus] = {}
        self.speeds: dict[str, Speed] = {}

    def cost(self, config: Config) -> Cost:
        """What a point would cost; raises GptexpError for one that would be refused."""
        runtime = self.runtime(config)
        check_memory(config, self.loaded(config).tokenizer.vocab_size, runtime)
        return self._cost(config, runtime, fits=True)

    def cost_elsewhere(self, config: Config) -> Cost:
        """What a point would cost that this machine refuses for want of memory."""
        return self._cost(config, self.runtime(config), fits=False)

    def size(self, config: Config) -> Size:
        """How large a point is; raises GptexpError for one that would be refused."""
        return self._size(config, *self._text(config, self.runtime(config)))

    def runtime(self, config: Config) -> Runtime:
        """What a point would train on; raises ConfigError."""
        check(config)
        ConfigError.raise_for(device_problems(config.trainer, self.hardware))
        return resolve_runtime(config.trainer, self.hardware)

    def _text(self, config: Config, runtime: Runtime) -> tuple[int, Corpus]:
        """The vocabulary's size, and the corpus."""
        loaded = self.loaded(config)
        corpus = loaded.corpus(config.trainer.rows, config.seed, runtime.device)
        return loaded.tokenizer.vocab_size, corpus

    def _size(self, config: Config, vocab_size: int, corpus: Corpus) -> Size:
        steps = budgeted(config, vocab_size, corpus).max_steps
        tokens = corpus.tokens_seen(steps)
        return Size(
            params=total_parameters(config.model, vocab_size),
            steps=steps,
            tokens=tokens,
            epochs=tokens / corpus.tokens_per_epoch("train"),
            flops=float(flops_per_token(config.model, vocab_size) * tokens),
        )

    def _cost(self, config: Config, runtime: Runtime, fits: bool) -> Cost:
        vocab_size, corpus = self._text(config, runtime)
        size = self._size(config, vocab_size, corpus)
        state, left = str(RunState.refused), 0.0
        if fits:
            state, left = progress(config, identify(config, self.outputs), size.steps)
        trainer = replace(config.trainer, max_steps=size.steps)
        with cpu_threads(trainer.threads):
            speed = self.speed(config, runtime, corpus, vocab_size, fits)
            machine = runtime.describe()
        averages = len(config.optim.averages)
        return Cost(
            **asdict(size),
            state=state,
            memory=least_memory(config, vocab_size, runtime),
            seconds=throughput.seconds(trainer, corpus, speed, averages) if speed else math.nan,
            left=left,
            machine=machine,
        )

    def loaded(self, config: Config) -> LoadedCorpus:
        """The corpus, read once for all points that have it in common."""
        start = (config.init_from, config.branch_from)
        key = repr((config.data, config.tokenizer, config.model.block_size, start))
        if key not in self.texts:
            self.texts[key] = load_text(config, read_init(config))
        return self.texts[key]

    def speed(
        self, config: Config, runtime: Runtime, corpus: Corpus, vocab_size: int, fits: bool
    ) -> Speed | None:
        """The speed of training, measured once for all points that have it in common."""
        if not fits:
            return speed_by_copy(config, vocab_size, runtime)
        cfg = config.trainer
        sizes = (cfg.batch_size, cfg.eval_batch_size, cfg.compile, cfg.threads)
        # Of documents, the time of a token depends on how many of them a step has.
        text = config.data if config.data.is_listed or config.data.mask_documents else None
        key = repr((config.model, vocab_size, *sizes, text, runtime))
        if key not in self.speeds:
            self.speeds[key] = speed_of(config, vocab_size, corpus, runtime)
        return self.speeds[key]


def plan_sweep(words: list[str], outputs: Path = OUTPUTS) -> str:
    """The table of what `python run.py WORDS` would train; trains and writes nothing.

    Raises ConfigError for an unknown key or choice, and where no point has a config.
    """
    points = points_of(grid.of_command(words))
    if all(isinstance(point.config, ConfigError) for point in points):
        raise ConfigError(*(p for point in points for p in point.config.problems))  # type: ignore[union-attr]
    number(points)
    planner = Planner(outputs)
    rows: list[tuple[str, ...]] = [HEADER]
    costs: list[Cost] = []
    for point in points:
        name = point.label
        try:
            if isinstance(point.config, ConfigError):
                raise point.config
            costs.append(planner.cost(point.config))
            rows.append((*cells(costs[-1]), name))
        except TooLargeError as error:
            rows.append((*_elsewhere(point, planner), f"{name}  {error.problems[0]}".strip()))
        except GptexpError as error:
            rows.append((*REFUSED, f"{name}  {error.problems[0]}".strip()))
    right = [False, *[True] * 7, False]
    return "\n".join([*aligned(rows, right), "", total(len(points), costs)])


def _elsewhere(point: SweepPoint, planner: Planner) -> tuple[str, ...]:
    """The cells of a point that this machine has too little memory for."""
    assert isinstance(point.config, Config)
    try:
        return cells(planner.cost_elsewhere(point.config))
    except GptexpError:  # its budget cannot be counted either
        return REFUSED


def progress(config: Config, identity: Identity, steps: int) -> tuple[str, float]:
    """The state of a run of so many steps, and the share of it that is left.

    The state is new, done or RunDirectory.state, with the share that is trained, with a word that
    the run is to start anew, with the folder that has the same run, or with the run it extends.
    """
    directory = identity.directory
    for other in others(config, identity):
        return f"{RunState.done} in {other.parent.name}", 0.0
    for other, step in beginnings(config, identity, steps):
        return f"extends {other.name[-8:]} from step {step:,}", 1.0 - step / steps
    if identity.base is not None and not directory.path.exists():
        step = identity.base.entry.step
        return f"branches at step {step:,}", max(0.0, 1.0 - step / steps)
    done = directory.summary() is not None
    state = str(RunState.done if done else directory.state() or "new")
    if to_be_replaced(config, directory):
        return f"{state}, to be replaced", 1.0
    if done or state == RunState.diverged:  # being deterministic, it would again: run.py refuses it
        return state, 0.0
    last = read_entry(directory.checkpoints / LAST)
    share = last.step / steps if last else 0.0
    return (f"{state} at {share:.0%}" if share else state), max(0.0, 1.0 - share)


def cells(cost: Cost) -> tuple[str, ...]:
    """The cost in the columns of HEADER but the last."""
    return (
        cost.state,
        f"{cost.params:,}",
        f"{cost.steps:,}",
        short(cost.tokens),
        f"{cost.epochs:.2f}",
        f"{cost.flops:.2e}",
        f"{cost.memory / 1e9:.2f} GB",
        "" if math.isnan(cost.seconds) else duration(cost.seconds),
    )


def total(count: int, costs: list[Cost]) -> str:
    """The last line of so many points: how much of all that is still to be trained."""
    todo = [cost for cost in costs if cost.left]
    diverged = sum(cost.state == RunState.diverged for cost in costs)
    rest = {RunState.diverged: diverged, RunState.refused: count - len(costs)}
    others = "".join(f", {count} {state}" for state, count in rest.items() if count)
    flops = sum(cost.flops * cost.left for cost in todo)
    seconds = sum(cost.seconds * cost.left for cost in todo)
    machines = " and ".join(dict.fromkeys(cost.machine for cost in todo or costs))
    place = f" on {machines}" if machines else ""
    return (
        f"{plural(count, 'point')}, {len(costs) - len(todo) - diverged} done{others}; "
        f"to train {len(todo)}: {flops:.2e} FLOPs, "
        f"about {duration(seconds)} one after another{place}"
    )
