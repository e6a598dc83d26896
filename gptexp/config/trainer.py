"""The trainer and logger sections: every key with its type and meaning, beside its rules."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from gptexp.config.ranges import not_negative, positive


class OnOverfit(Enum):
    stop = "stop"
    observe = "observe"


class Keep(Enum):
    best = "best"
    all = "all"


class Dtype(Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


BUDGETS = ("max_tokens", "max_epochs", "max_flops")  # of TrainerConfig, for max_steps


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """How long, how much at once, how often to look, and where."""

    max_steps: int  # optimizer updates; counts where none of the three budgets below is given
    batch_size: int  # sequences per forward pass
    grad_accum: int  # forward passes per update
    grad_clip: float  # largest global gradient norm; 0 switches clipping off
    eval_interval: int  # updates between exact evaluations
    eval_batch_size: int  # windows per forward pass of an evaluation
    log_interval: int  # updates between lines of the training loss
    sample_interval: int  # updates between samples; 0 samples at the end only
    sample_tokens: int  # length of each sample, or at most of each document in it
    sample_temperature: float  # temperature of the samples; 0 is greedy
    sample_top_k: int | None  # sample among the k likeliest tokens, or null for all
    checkpoint_interval: int | None  # extra checkpoints between evaluations, in updates, or null
    on_overfit: OnOverfit  # stop when validation stops improving, or observe the whole cliff
    patience: int  # evaluations without a gain above min_delta before stopping
    min_delta: float  # smallest gain in nats that resets patience
    device: str  # auto, cpu, mps, cuda or cuda:N
    dtype: Dtype  # arithmetic of the forward pass; weights stay float32
    compile: bool  # torch.compile the forward pass of training; evaluation runs as written
    keep: Keep  # checkpoints that stay when the run is done: the best alone, or all
    retry_failed: bool  # train a diverged run again
    threads: int | None = None  # of the CPU, or null for torch's own choice
    sample_documents: int = 20  # documents in each sample, where the data are documents
    max_tokens: int | None = None  # budget in place of max_steps: tokens trained on, or null
    max_epochs: float | None = None  # budget in place of max_steps: passes over train, or null
    max_flops: float | None = None  # budget in place of max_steps: floating-point work, or null

    @property
    def budgets(self) -> list[str]:
        """Which budgets are given in place of max_steps; of a legal config at most one."""
        return [key for key in BUDGETS if getattr(self, key) is not None]


@dataclass(kw_only=True, slots=True)
class LoggerConfig:
    """Which mirrors of metrics.jsonl to write."""

    name: str  # label
    tensorboard: bool  # event files in the run directory
    wandb: bool = False  # a run in Weights & Biases, online where there is a key
    entity: str | None = None  # W&B: user or team, or null for the default one
    project: str = "gptexp"  # W&B: project
    group: str | None = None  # W&B: group, or null for the run's name
    job_type: str = "train"  # W&B: job type
    tags: list[str] = field(default_factory=list)  # W&B: tags


def _trainer(trainer: TrainerConfig) -> Iterator[str]:
    for key in (
        "max_steps",
        "batch_size",
        "grad_accum",
        "eval_interval",
        "eval_batch_size",
        "log_interval",
        "sample_tokens",
        "sample_documents",
        "patience",
    ):
        yield from positive(f"trainer.{key}", getattr(trainer, key))
    for key in ("sample_top_k", "checkpoint_interval", "threads"):
        if (value := getattr(trainer, key)) is not None:
            yield from positive(f"trainer.{key}", value)
    for key in ("grad_clip", "min_delta", "sample_temperature", "sample_interval"):
        yield from not_negative(f"trainer.{key}", getattr(trainer, key))
    for key in trainer.budgets:
        if not (math.isfinite(value := getattr(trainer, key)) and value > 0):
            yield f"trainer.{key}: {value} is not a finite number above 0. Fix: trainer.{key}=null"
    if len(trainer.budgets) > 1:
        first, second = (f"trainer.{key}={getattr(trainer, key)}" for key in trainer.budgets[:2])
        yield f"{first.partition('=')[0]}: {second} is given too. Fix: keep one budget"
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", trainer.device):
        yield f"trainer.device: {trainer.device!r} is unknown. Fix: auto, cpu, mps, cuda or cuda:N"


def _logger(logger: LoggerConfig) -> Iterator[str]:
    if not re.fullmatch(r"[^/\\#?%:\s]{1,128}", logger.project):  # W&B's rule
        yield (
            f"logger.project: {logger.project!r} cannot name a W&B project. "
            "Fix: at most 128 characters, without spaces and / \\ # ? % :"
        )
