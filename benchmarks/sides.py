"""What is compared, as live objects, and their work timed in turns of seconds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from benchmarks.nanogpt import Apart, Flags, write_tokens
from benchmarks.products import AttentionKernel, Products
from benchmarks.textbook import Null, Textbook
from gptexp.config import Config, GPTConfig, from_overrides, to_dict
from gptexp.data.corpus import Splits
from gptexp.data.load import LoadedText, format_of
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import Inputs, prepare
from gptexp.experiment.train import build_parts
from gptexp.models.base import Model
from gptexp.models.build import build_model
from gptexp.runs.checkpoint import State, Store
from gptexp.runtime.device import Runtime
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tracking.tracker import open_tracker
from gptexp.training.trainer import Trainer

NEVER = 10**9  # steps

NULL_VOCAB, NULL_TOKENS = 8, 10_000
NULL = ["model.block_size=8", "trainer.batch_size=1"]


class Chunked(Trainer):
    """The real trainer, its `fit` included, without what `fit` does before its first step."""

    chunk_end = 0
    asked = False  # for an evaluation

    def run(self, steps: int) -> None:
        # As runtime.resolve asks of torch, which asks it of the whole process.
        torch.use_deterministic_algorithms(self.parts.runtime.device.type == "cuda")
        self.chunk_end = self.step + steps
        self.fit(resumed={})

    def begin(self, resumed: State | None) -> None:
        self.lap_step = self.step
        self.clock.start()

    def stop_reason(self) -> str | None:
        return super().stop_reason() or ("end of chunk" if self.step >= self.chunk_end else None)

    def evaluate(self) -> None:
        """One evaluation as it falls due in a run."""
        self.asked = True
        self.evaluate_if_due()
        self.asked = False

    def evaluation_due(self) -> bool:
        return self.asked


class Side(Protocol):
    """What trains."""

    def run(self, steps: int) -> None: ...


def settings(overrides: list[str]) -> Config:
    """Training and its log lines alone: evaluations, samples and saves are never due."""
    quiet = [f"trainer.max_steps={NEVER}", f"trainer.eval_interval={NEVER}"]
    return from_overrides([*quiet, "trainer.sample_interval=0", *overrides])


def read(config: Config) -> Inputs:
    """The corpus of `config`, on the device of `config`."""
    return prepare(config, identify(config, Path("outputs")))


class Whole(Side, Protocol):
    """What also evaluates and saves."""

    def evaluate(self) -> None: ...

    def save(self) -> None: ...


@contextmanager
def trainer_side(
    config: Config, network: Model | Null, inputs: Inputs, folder: Path
) -> Iterator[Chunked]:
    """A trainer put together as that of a run, writing its journals in `folder`."""
    network.to(inputs.runtime.device)
    with open_tracker(config.logger, folder, to_dict(config), None) as tracker:
        store = Store(folder / "checkpoints")
        parts = build_parts(config, "", inputs, network, store, tracker)  # type: ignore[arg-type]
        yield Chunked(config.trainer, config.seed, parts)


@contextmanager
def both(config: Config, inputs: Inputs, folder: Path) -> Iterator[tuple[Chunked, Textbook]]:
    """Trainer and textbook loop over the model of `config`, from the same initial weights."""
    ours, theirs = (build_model(config.model, inputs.tokenizer.vocab_size, 0) for _ in range(2))
    with _both(config, inputs, folder, ours, theirs) as sides:
        yield sides


@contextmanager
def both_null(config: Config, where: Runtime, folder: Path) -> Iterator[tuple[Chunked, Textbook]]:
    """Over the null model, on random tokens; `config` has the settings NULL."""
    ids = np.random.default_rng(0).integers(0, NULL_VOCAB, NULL_TOKENS)
    splits = Splits(ids, ids[:0], ids[:100], {})
    reading, block_size = format_of(config.data), config.model.block_size
    text = LoadedText("random tokens", reading, ByteTokenizer(), splits, block_size, "")
    corpus = text.corpus(config.trainer.rows, config.seed, where.device)
    inputs = Inputs(text, corpus, where, config.trainer)
    with _both(config, inputs, folder, Null(NULL_VOCAB), Null(NULL_VOCAB)) as sides:
        yield sides


@contextmanager
def _both(
    config: Config, inputs: Inputs, folder: Path, ours: Model | Null, theirs: Model | Null
) -> Iterator[tuple[Chunked, Textbook]]:
    cfg, where, block_size = config.trainer, inputs.runtime, config.model.block_size
    tokens = torch.from_numpy(inputs.text.splits.train).long().to(where.device)
    textbook = Textbook(theirs.to(where.device), tokens, cfg.rows, block_size, where.dtype)
    with trainer_side(config, ours, inputs, folder) as trainer:
        yield trainer, textbook


def floors(config: Config, inputs: Inputs) -> dict[str, Side]:
    """What no step of `config`, whose model is a GPT, can do without."""
    cfg, vocab_size = config.model, inputs.tokenizer.vocab_size
    assert isinstance(cfg, GPTConfig)
    rows, where = config.trainer.batch_size, (inputs.runtime.device, inputs.runtime.dtype)
    return {
        "its matrix products": Products(cfg, vocab_size, rows, *where),
        "attention's kernel": AttentionKernel(cfg, rows, *where),
    }


def flags_of(config: Config, inputs: Inputs, eval_iters: int) -> Flags:
    """nanoGPT with the model, batch and optimizer of `config`."""
    return Flags.of(config, inputs.tokenizer.vocab_size, inputs.runtime, eval_iters)


@contextmanager
def nanogpt(checkout: Path, flags: Flags, inputs: Inputs, folder: Path) -> Iterator[Apart]:
    """nanoGPT over the tokens of `inputs`, which are written to `folder`."""
    write_tokens(folder, train=inputs.text.splits.train, val=inputs.text.splits.val)
    with closing(Apart(checkout, flags, folder)) as side:
        yield side


def parameters(model: nn.Module) -> int:
    """How many numbers a model learns; two that are compared have as many."""
    return sum(weight.numel() for weight in model.parameters())


def turns(
    work: Mapping[str, Callable[[], object]],
    count: int,
    where: Runtime,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each piece of work by `clock`, done `count` times in turns.

    Every second round runs the other way round, so that a drift of the machine cancels.
    """
    found: dict[str, list[float]] = {name: [] for name in work}
    for index in range(count):
        for name in list(work)[:: -1 if index % 2 else 1]:
            where.synchronize()
            began = clock()
            work[name]()
            where.synchronize()
            found[name].append(clock() - began)
    return found


def steps_of(
    sides: Mapping[str, Side], steps: int, count: int, where: Runtime
) -> dict[str, list[float]]:
    """Seconds a step of each side, in turns of `steps` steps, after a warm-up."""
    for side in sides.values():
        side.run(max(steps // 5, 2))
    took = turns({name: partial(side.run, steps) for name, side in sides.items()}, count, where)
    return {name: [seconds / steps for seconds in each] for name, each in took.items()}


def steps_in(seconds: float, side: Side, where: Runtime) -> int:
    """How many steps of a side take about so long; at least 1."""
    side.run(2)
    (took,) = turns({"": partial(side.run, 2)}, 1, where)[""]
    return max(1, round(2 * seconds / took))
