"""`gptexp plan`: what a sweep would train, what that would cost, and what of it is there."""

from dataclasses import dataclass
from pathlib import Path

from gptexp.config import Config, check, grid
from gptexp.data.corpus import Corpus
from gptexp.data.load import LoadedText
from gptexp.errors import ConfigError, GptexpError
from gptexp.experiment.auto_compile import speed_of
from gptexp.experiment.extend import beginnings
from gptexp.experiment.identity import Identity, identify, to_be_replaced
from gptexp.experiment.prepare import budgeted, check_memory, load_text, read_init
from gptexp.experiment.reuse import others
from gptexp.models.counts import flops_per_token, total_parameters, training_memory
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
from gptexp.text import aligned, duration, short
from gptexp.training import throughput
from gptexp.training.throughput import Speed

HEADER = ("state", "params", "steps", "tokens", "epochs", "FLOPs", "memory", "time", "point")


@dataclass(frozen=True)
class Cost:
    """What one point of a sweep would cost, and what of it is there."""

    state: str  # see progress()
    params: int
    steps: int
    tokens: int
    epochs: float  # of its training set
    flops: float
    memory: int  # bytes, at least
    seconds: float  # for the whole run, on this machine, one after another
    left: float  # share of the run that is still to train
    machine: str  # what it would train on


class Planner:
    """Works out points one by one; corpora are read, and models timed, once for each kind."""

    def __init__(self, outputs: Path) -> None:
        self.hardware = probe_hardware()
        self.outputs = outputs
        self.texts: dict[str, LoadedText] = {}
        self.speeds: dict[str, Speed] = {}

    def cost(self, config: Config) -> Cost:
        """What a point would cost; raises GptexpError for one that would be refused."""
        check(config)
        ConfigError.raise_for(device_problems(config.trainer, self.hardware))
        runtime = resolve_runtime(config.trainer, self.hardware)
        with cpu_threads(config.trainer.threads):
            return self._cost(config, runtime)

    def _cost(self, config: Config, runtime: Runtime) -> Cost:
        loaded = self.loaded(config)
        vocab_size = loaded.tokenizer.vocab_size
        corpus = loaded.corpus(config.trainer.rows, config.seed, runtime.device)
        trainer = budgeted(config, vocab_size, corpus)
        check_memory(config, vocab_size, runtime)
        tokens = corpus.tokens_seen(trainer.max_steps)
        state, left = progress(config, identify(config, self.outputs), trainer.max_steps)
        speed = self.speed(config, runtime, corpus, vocab_size)
        return Cost(
            state=state,
            params=total_parameters(config.model, vocab_size),
            steps=trainer.max_steps,
            tokens=tokens,
            epochs=tokens / corpus.tokens_per_epoch("train"),
            flops=float(flops_per_token(config.model, vocab_size) * tokens),
            memory=training_memory(config.model, vocab_size, trainer.batch_size, runtime),
            seconds=throughput.seconds(trainer, corpus, speed, len(config.optim.averages)),
            left=left,
            machine=runtime.describe(),
        )

    def loaded(self, config: Config) -> LoadedText:
        """The corpus, read once for all points that have it in common."""
        start = (config.init_from, config.branch_from)
        key = repr((config.data, config.tokenizer, config.model.block_size, start))
        if key not in self.texts:
            self.texts[key] = load_text(config, read_init(config))
        return self.texts[key]

    def speed(self, config: Config, runtime: Runtime, corpus: Corpus, vocab_size: int) -> Speed:
        """The speed of training, measured once for all points that have it in common."""
        cfg = config.trainer
        sizes = (cfg.batch_size, cfg.eval_batch_size, cfg.compile, cfg.threads)
        # Of documents, the time of a token depends on how many of them a step has.
        text = config.data if config.data.documents else None
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
        except GptexpError as error:
            rows.append((RunState.refused, *[""] * 7, f"{name}  {error.problems[0]}".strip()))
    right = [False, *[True] * 7, False]
    return "\n".join([*aligned(rows, right), "", total(points, costs)])


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
        duration(cost.seconds),
    )


def total(points: list[SweepPoint], costs: list[Cost]) -> str:
    """The last line: how much of all that is still to be trained."""
    todo = [cost for cost in costs if cost.left]
    diverged = sum(cost.state == RunState.diverged for cost in costs)
    rest = {RunState.diverged: diverged, RunState.refused: len(points) - len(costs)}
    others = "".join(f", {count} {state}" for state, count in rest.items() if count)
    flops = sum(cost.flops * cost.left for cost in todo)
    seconds = sum(cost.seconds * cost.left for cost in todo)
    machines = " and ".join(dict.fromkeys(cost.machine for cost in todo or costs))
    place = f" on {machines}" if machines else ""
    counted = "1 point" if len(points) == 1 else f"{len(points)} points"
    return (
        f"{counted}, {len(costs) - len(todo) - diverged} done{others}; to train {len(todo)}: "
        f"{flops:.2e} FLOPs, about {duration(seconds)} one after another{place}"
    )
