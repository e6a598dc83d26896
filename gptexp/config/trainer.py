"""The trainer and logger sections: every key with its type and meaning, beside its rules."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from gptexp.config.ranges import above_zero, not_negative, positive
from gptexp.errors import Problem
from gptexp.text import shortened


class OnOverfit(Enum):
    stop = "stop"
    observe = "observe"


class Keep(Enum):
    best = "best"
    all = "all"


class Parallel(Enum):
    ddp = "ddp"
    fsdp = "fsdp"


class Dtype(Enum):
    auto = "auto"
    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


AUTO: Final = "auto"
if TYPE_CHECKING:
    Switch = bool | Literal["auto"]
else:
    Switch = Any  # OmegaConf fails to merge a union into a config that Hydra composes

BUDGETS = ("max_tokens", "max_epochs", "max_flops")  # of TrainerConfig, for max_steps
MOST_THREADS = 1024  # far more, and torch ends the process by a segmentation fault
MOST_TEXTS = 1_000_000  # of one sample, drawn side by side
POSITIVE = (  # of TrainerConfig: from 1, where they are not null
    *("max_steps", "batch_size", "grad_accum", "eval_interval", "eval_batch_size", "log_interval"),
    *("sample_tokens", "sample_documents", "patience"),
    *("sample_top_k", "checkpoint_interval", "threads", "eval_tokens"),
    "rank_timeout",
)
NOT_NEGATIVE = (
    *("grad_clip", "min_delta", "sample_temperature", "sample_interval", "profile"),
    "diagnostics_interval",
)


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """The training loop: how long, how much at once, how often to look, and where."""

    max_steps: int  # optimizer updates; counts where none of the three budgets below is given
    batch_size: int  # sequences per forward pass
    grad_accum: int  # forward passes per update, over all ranks where torchrun starts several
    grad_clip: float  # largest global gradient norm; 0 switches clipping off
    eval_interval: int  # updates between evaluations
    eval_batch_size: int  # windows per forward pass of an evaluation; a CPU takes fewer at once
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
    dtype: Dtype  # arithmetic of the forward pass; weights stay float32, but are float64 in that
    compile: Switch  # torch.compile the passes of training, with auto where it pays by itself
    keep: Keep  # checkpoints that stay when the run is done: the best alone, or all
    retry_failed: bool  # train a diverged run again
    threads: int | None = None  # of the CPU, or null for torch's own choice
    sample_documents: int = 20  # documents in each sample of them, or answers of conversations
    max_tokens: int | None = None  # budget in place of max_steps: tokens trained on, or null
    max_epochs: float | None = None  # budget in place of max_steps: passes over train, or null
    max_flops: float | None = None  # budget in place of max_steps: floating-point work, or null
    eval_tokens: int | None = None  # most targets of an evaluation while training, or null for all
    profile: int = 0  # steps to trace with torch.profiler, from the second on; 0 traces none
    diagnostics_interval: int = 0  # updates between looks inside the model (diag/...); 0: none
    activation_checkpointing: bool = False  # keep inputs of blocks, and compute the rest again
    parallel: Parallel = Parallel.ddp  # under torchrun: each rank holds all weights, or a shard
    rank_timeout: int = 600  # seconds that a rank waits for the others before the run ends

    @property
    def budgets(self) -> list[str]:
        """Which budgets are given in place of max_steps; of a legal config at most one."""
        return [key for key in BUDGETS if getattr(self, key) is not None]

    @property
    def rows(self) -> int:
        """Sequences of one update, over all of its forward passes."""
        return self.batch_size * self.grad_accum

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range, or contradicts itself."""
        for key in POSITIVE:
            if (value := getattr(self, key)) is not None:
                yield from positive(f"trainer.{key}", value)
        if (self.threads or 0) > MOST_THREADS:
            what = f"{self.threads} is more than any machine has of use"
            yield Problem("trainer.threads", what, f"trainer.threads={MOST_THREADS} at most")
        if self.sample_documents > MOST_TEXTS:
            what = f"{self.sample_documents} is more than are drawn at once"
            yield Problem(
                "trainer.sample_documents", what, f"trainer.sample_documents={MOST_TEXTS}"
            )
        for key in NOT_NEGATIVE:
            yield from not_negative(f"trainer.{key}", getattr(self, key))
        for key in self.budgets:
            yield from above_zero(f"trainer.{key}", getattr(self, key), "null")
        if len(self.budgets) > 1:
            first, second = self.budgets[:2]
            what = f"trainer.{second}={getattr(self, second)} is given too"
            yield Problem(f"trainer.{first}", what, "keep one budget")
        switch: object = self.compile  # to which OmegaConf gives whatever was typed
        if not isinstance(switch, bool) and switch != AUTO:
            what = f"{shortened(repr(switch), 40)} is unknown"
            yield Problem("trainer.compile", what, "trainer.compile=auto, true or false")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            fix = "auto, cpu, mps, cuda or cuda:N"
            yield Problem("trainer.device", f"{self.device!r} is unknown", fix)


@dataclass(kw_only=True, slots=True)
class LoggerConfig:
    """Which dashboards to write beside metrics.jsonl."""

    name: str  # label
    tensorboard: bool  # event files in the run directory
    wandb: bool = False  # a run in Weights & Biases, online where there is a key
    entity: str | None = None  # W&B: user or team, or null for the default one
    project: str = "gptexp"  # W&B: project
    group: str | None = None  # W&B: group, or null for the run's name
    job_type: str = "train"  # W&B: job type
    tags: list[str] = field(default_factory=list)  # W&B: tags

    def problems(self) -> Iterator[Problem]:
        """Yield what W&B would refuse."""
        if not re.fullmatch(r"[^/\\#?%:\s]{1,128}", self.project):
            yield Problem(
                "logger.project",
                f"{self.project!r} cannot name a W&B project",
                "at most 128 characters, without spaces and / \\ # ? % :",
            )
        tags: object = self.tags  # which a ${...} can make anything
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            what = f"{tags!r} is no list of texts"
            yield Problem("logger.tags", what, "list them: 'logger.tags=[a,b]'")
