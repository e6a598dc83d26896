"""`gptexp plan`: what a sweep would train, what that would cost, and what of it is there."""

from dataclasses import dataclass
from pathlib import Path

from gptexp import data, forecast, model, preflight, runtime, tokenizers
from gptexp.config import Config, points, problems
from gptexp.console import duration, short
from gptexp.data import Corpus, Splits
from gptexp.errors import ConfigError, GptexpError
from gptexp.files import read_json
from gptexp.rundir import OUTPUTS, RunDirectory
from gptexp.runtime import Runtime
from gptexp.sweep import Point, changes
from gptexp.table import aligned
from gptexp.tokenizers import Tokenizer

HEADER = ("state", "params", "steps", "tokens", "epochs", "FLOPs", "memory", "time", "point")


@dataclass(frozen=True)
class Cost:
    """What one point comes to."""

    state: str  # new, done, or that of its status.json, with the share that is left
    params: int
    steps: int
    tokens: int
    epochs: float  # of its training set
    flops: float
    memory: int  # bytes, at least
    seconds: float  # for the whole run, on this machine, one after another
    left: float  # share of the run that is still to train


class Planner:
    """Works out points one by one; corpora are read, and models timed, once for each kind."""

    def __init__(self, where: Runtime, outputs: Path) -> None:
        self.where = where
        self.outputs = outputs
        self.texts: dict[str, tuple[Tokenizer, Splits]] = {}
        self.speeds: dict[str, float] = {}  # seconds a token

    def cost(self, config: Config) -> Cost:
        """Raises GptexpError for a point that would be refused."""
        if found := problems(config):
            raise ConfigError(*found)
        tokenizer, splits = self.corpus(config)
        vocab_size, block_size = tokenizer.vocab_size, config.model.block_size
        trainer = preflight.budgeted(config, vocab_size, len(splits.train))
        preflight.check_memory(config, vocab_size, self.where.device)
        corpus = Corpus(splits, block_size, config.seed, self.where.device)
        tokens = trainer.max_steps * trainer.batch_size * trainer.grad_accum * block_size
        state, left = standing(
            preflight.identify(config, self.outputs).directory, trainer.max_steps
        )
        return Cost(
            state=state,
            params=sum(model.count_parameters(config.model, vocab_size).values()),
            steps=trainer.max_steps,
            tokens=tokens,
            epochs=tokens / len(splits.train),
            flops=float(model.flops_per_token(config.model, vocab_size) * tokens),
            memory=model.training_memory(config.model, vocab_size, trainer.batch_size),
            seconds=self.speed(config, corpus, vocab_size) * forecast.work(trainer, corpus),
            left=left,
        )

    def corpus(self, config: Config) -> tuple[Tokenizer, Splits]:
        key = repr((config.data, config.tokenizer, config.model.block_size))
        if key not in self.texts:
            text = data.read(config.data)
            tokenizer = tokenizers.build(config.tokenizer, text)
            splits = data.split(text, config.data, tokenizer, config.model.block_size)
            self.texts[key] = tokenizer, splits
        return self.texts[key]

    def speed(self, config: Config, corpus: Corpus, vocab_size: int) -> float:
        """Seconds that a token takes to train on."""
        key = repr((config.model, config.trainer.batch_size, vocab_size))
        if key not in self.speeds:
            network = model.build(config.model, vocab_size, 0).to(self.where.device)
            self.speeds[key] = forecast.per_token(
                config.trainer, network, network, corpus, self.where
            )
        return self.speeds[key]


def plan(words: list[str], outputs: Path = OUTPUTS) -> str:
    """The table of what `python run.py WORDS` would train; trains and writes nothing.

    Raises ConfigError for an unknown key or choice, and where the machine lacks what is asked for.
    """
    found = [Point(*both) for both in points.of_command(words)]
    planner = Planner(machine(found), outputs)
    rows: list[tuple[str, ...]] = [HEADER]
    costs: list[Cost] = []
    for point in found:
        name = changes(point, found)
        try:
            if isinstance(point.config, ConfigError):
                raise point.config
            costs.append(planner.cost(point.config))
            rows.append((*cells(costs[-1]), name))
        except GptexpError as error:
            rows.append(("refused", *[""] * 7, f"{name}  {error.problems[0]}".strip()))
    right = [False, *[True] * 7, False]
    return "\n".join([*aligned(rows, right), "", total(found, costs, planner.where)])


def machine(found: list[Point]) -> Runtime:
    """What the points ask for; of a sweep over devices, the first. Raises ConfigError."""
    configs = [point.config for point in found if isinstance(point.config, Config)]
    if not configs:
        raise ConfigError(*(p for point in found for p in point.config.problems))  # type: ignore[union-attr]
    hardware = runtime.probe()
    if problems_there := runtime.problems(configs[0].trainer, hardware):
        raise ConfigError(*problems_there)
    return runtime.resolve(configs[0].trainer, hardware)


def standing(directory: RunDirectory, steps: int) -> tuple[str, float]:
    """What there is of a run of so many steps, and the share of it that is left."""
    if directory.summary() is not None:
        return "done", 0.0
    state = directory.status().get("state", "new")
    if state == "running" and not directory.held():
        state = "killed"
    done = (read_json(directory.checkpoints / "last.json") or {}).get("step", 0) / steps
    return (f"{state} at {done:.0%}" if done else state), max(0.0, 1.0 - done)


def cells(cost: Cost) -> tuple[str, ...]:
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


def total(found: list[Point], costs: list[Cost], where: Runtime) -> str:
    """The last line: how much of all that is still to be trained."""
    todo = [cost for cost in costs if cost.left]
    flops = sum(cost.flops * cost.left for cost in todo)
    seconds = sum(cost.seconds * cost.left for cost in todo)
    refused = f", {len(found) - len(costs)} refused" if len(costs) < len(found) else ""
    counted = "1 point" if len(found) == 1 else f"{len(found)} points"
    return (
        f"{counted}, {len(costs) - len(todo)} done{refused}; to train {len(todo)}: "
        f"{flops:.2e} FLOPs, about {duration(seconds)} one after another on {where.describe()}"
    )
