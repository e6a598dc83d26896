"""Both sides as live objects in one process, and pairs of chunks timed one after the other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from benchmarks.textbook import Null, Textbook
from gptexp.config import Config, from_overrides, to_dict
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

    @property
    def deterministic(self) -> bool:
        """As runtime.resolve asks of torch, which asks it of the whole process."""
        return self.parts.runtime.device.type == "cuda"

    def run(self, steps: int) -> None:
        self.chunk_end = self.step + steps
        self.fit(resumed={})

    def begin(self, resumed: State | None) -> None:
        self.lap_step = self.step
        self.clock.start()

    def stop_reason(self) -> str | None:
        return super().stop_reason() or ("end of chunk" if self.step >= self.chunk_end else None)


class Side(Protocol):
    deterministic: bool

    def run(self, steps: int) -> None: ...


@dataclass(frozen=True)
class Sides:
    """What is compared, over the same model and text."""

    trainer: Chunked
    textbook: Textbook
    where: Runtime
    tokens_per_step: int


def settings(overrides: list[str]) -> Config:
    """Training and its log lines alone: evaluations, samples and saves are never due."""
    quiet = [f"trainer.max_steps={NEVER}", f"trainer.eval_interval={NEVER}"]
    return from_overrides([*quiet, "trainer.sample_interval=0", *overrides])


def read(config: Config) -> Inputs:
    """The corpus of `config`, on the device of `config`."""
    return prepare(config, identify(config, Path("outputs")))


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
def both(config: Config, inputs: Inputs, folder: Path) -> Iterator[Sides]:
    """Over the model of `config`, twice from the same initial weights."""
    ours, theirs = (build_model(config.model, inputs.tokenizer.vocab_size, 0) for _ in range(2))
    with _sides(config, inputs, folder, ours, theirs) as sides:
        yield sides


@contextmanager
def both_null(config: Config, where: Runtime, folder: Path) -> Iterator[Sides]:
    """Over the null model, on random tokens; `config` has the settings NULL."""
    ids = np.random.default_rng(0).integers(0, NULL_VOCAB, NULL_TOKENS)
    splits = Splits(ids, ids[:0], ids[:100], {})
    reading, block_size = format_of(config.data), config.model.block_size
    text = LoadedText("random tokens", reading, "", ByteTokenizer(), splits, block_size)
    corpus = text.corpus(config.trainer.rows, config.seed, where.device)
    inputs = Inputs(text, corpus, where, config.trainer)
    with _sides(config, inputs, folder, Null(NULL_VOCAB), Null(NULL_VOCAB)) as sides:
        yield sides


@contextmanager
def _sides(
    config: Config, inputs: Inputs, folder: Path, ours: Model | Null, theirs: Model | Null
) -> Iterator[Sides]:
    cfg, where, block_size = config.trainer, inputs.runtime, config.model.block_size
    tokens = torch.from_numpy(inputs.text.splits.train).to(where.device)
    textbook = Textbook(theirs.to(where.device), tokens, cfg.rows, block_size, where.dtype)
    with trainer_side(config, ours, inputs, folder) as trainer:
        yield Sides(trainer, textbook, where, cfg.rows * block_size)


def pairs(sides: Sides, steps: int, count: int) -> list[tuple[float, float]]:
    """Seconds of `steps` steps of trainer and textbook, after a warm-up, `count` times.

    Every second pair runs the other way round, so that a drift of the machine cancels.
    """
    for side in (sides.trainer, sides.textbook):
        _seconds(side, max(steps // 5, 2), sides.where)
    found = []
    for index in range(count):
        if index % 2 == 0:
            ours = _seconds(sides.trainer, steps, sides.where)
            theirs = _seconds(sides.textbook, steps, sides.where)
        else:
            theirs = _seconds(sides.textbook, steps, sides.where)
            ours = _seconds(sides.trainer, steps, sides.where)
        found.append((ours, theirs))
    return found


def _seconds(side: Side, steps: int, where: Runtime) -> float:
    torch.use_deterministic_algorithms(side.deterministic)
    where.synchronize()
    began = time.perf_counter()
    side.run(steps)
    where.synchronize()
    return time.perf_counter() - began
