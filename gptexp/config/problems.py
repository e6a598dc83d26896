"""Ranges and relations that types cannot say: all problems of one config, reported together."""

import math
import re
from collections.abc import Iterator

from gptexp.config.schema import (
    VARIANTS,
    AdamConfig,
    AdamWConfig,
    BigramConfig,
    Config,
    ConstantConfig,
    CosineConfig,
    GPTConfig,
    LinearConfig,
    LoggerConfig,
    MLPConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    SGDConfig,
    TrainerConfig,
)

SMALLEST = 1e-30  # smoothing
NAME_MAX = 80  # each of three labels and a hash share one file name of at most 255 bytes


def problems(config: Config) -> list[str]:
    """Each `<key>: <what is wrong, with the value>. Fix: <one action>`; empty when all is well."""
    return [
        *_names(config),
        *_model(config.model),
        *_data(config),
        *_optim(config.optim),
        *_counting(config),
        *_schedule(config.schedule, config.trainer),
        *_trainer(config.trainer),
        *_logger(config.logger),
    ]


def _names(config: Config) -> Iterator[str]:
    if not 0 <= config.seed < 2**63:
        yield f"seed: {config.seed} is not in [0, 2^63). Fix: seed=0"
    labels = {"name": config.name, "model.name": config.model.name, "data.name": config.data.name}
    for key, value in labels.items():
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", value) or len(value) > NAME_MAX:
            shown = value if len(value) <= 40 else f"{value[:40]}... ({len(value)} characters)"
            yield (
                f"{key}: {shown!r} cannot name a folder. "
                f"Fix: use at most {NAME_MAX} letters, digits, '_', '-', '+' or '.'"
            )
    for group, variants in VARIANTS.items():
        section = getattr(config, group)
        key = "kind" if group == "model" else "name"
        if not isinstance(section, variants.get(value := getattr(section, key), ())):
            yield f"{group}.{key}: {value!r} is fixed by the choice. Fix: {group}=..."


def _model(model: ModelConfig) -> Iterator[str]:
    sizes = ("n_layer", "n_head", "n_embd", "n_hidden", "context", "block_size")
    for key in sizes:
        if hasattr(model, key):
            yield from _positive(f"model.{key}", getattr(model, key))
    match model:
        case GPTConfig():
            yield from _gpt(model)
        case BigramConfig():
            if not (math.isfinite(model.smoothing) and model.smoothing >= SMALLEST):
                what = f"is not a finite number from {SMALLEST}, which float32 can hold"
                yield f"model.smoothing: {model.smoothing} {what}. Fix: model.smoothing=1.0"
    if isinstance(model, GPTConfig | MLPConfig) and not (
        math.isfinite(model.init_std) and model.init_std > 0
    ):
        yield f"model.init_std: {model.init_std} is not above 0. Fix: model.init_std=0.02"


def _gpt(model: GPTConfig) -> Iterator[str]:
    if model.n_head > 0 and model.n_embd > 0 and model.n_embd % model.n_head:
        below = model.n_embd // model.n_head * model.n_head
        legal = [str(n) for n in (below, below + model.n_head) if n > 0]
        outwards = (model.n_head + sign * off for off in range(model.n_head) for sign in (-1, 1))
        nearest = next(heads for heads in outwards if model.n_embd % heads == 0)
        yield (
            f"model.n_embd: {model.n_embd} is not a multiple of model.n_head={model.n_head}. "
            f"Fix: model.n_embd={' or '.join(legal)}, or model.n_head={nearest}"
        )
    if not 0 <= model.dropout < 1:
        yield f"model.dropout: {model.dropout} is not in [0, 1). Fix: model.dropout=0.1"


def _data(config: Config) -> Iterator[str]:
    data = config.data
    if (data.asset is None) == (data.path is None):
        both = f"both it and data.asset={data.asset} are given"
        what = "neither it nor data.asset is given" if data.asset is None else both
        yield f"data.path: {what}. Fix: data=text data.path=FILE"
    if data.shuffle and not data.documents:
        yield "data.shuffle: true, but only documents have another order. Fix: data.shuffle=false"
    if not 0 < data.fraction <= 1:
        yield f"data.fraction: {data.fraction} is not in (0, 1]. Fix: data.fraction=1.0"
    if not 0 < data.val_fraction < 1:
        yield f"data.val_fraction: {data.val_fraction} is not in (0, 1). Fix: data.val_fraction=0.1"
    if not 0 <= data.test_fraction < 1:
        yield f"data.test_fraction: {data.test_fraction} is not in [0, 1). Fix: 0 for no test part"
    elif 0 < data.val_fraction < 1 and data.val_fraction + data.test_fraction >= 1:
        yield (
            f"data.test_fraction: {data.test_fraction} and data.val_fraction={data.val_fraction} "
            "leave nothing to train on. Fix: lower one of them"
        )


def _optim(optim: OptimConfig) -> Iterator[str]:
    if not (math.isfinite(optim.lr) and optim.lr > 0):
        yield f"optim.lr: {optim.lr} is not a finite number above 0. Fix: optim.lr=1e-3"
    yield from _not_negative("optim.weight_decay", optim.weight_decay)
    match optim:
        case AdamWConfig() | AdamConfig():
            for key in ("beta1", "beta2"):
                beta = getattr(optim, key)
                if not 0 <= beta < 1:
                    yield f"optim.{key}: {beta} is not in [0, 1). Fix: optim.{key}=0.9"
            if not (math.isfinite(optim.eps) and optim.eps > 0):
                yield f"optim.eps: {optim.eps} is not above 0. Fix: optim.eps=1e-8"
        case SGDConfig():
            if not 0 <= optim.momentum < 1:
                yield f"optim.momentum: {optim.momentum} is not in [0, 1). Fix: optim.momentum=0.9"


def _counting(config: Config) -> Iterator[str]:
    """Bigrams are counted by plain SGD whose every step is of length 1, see baselines.Bigram."""
    if not isinstance(config.model, BigramConfig):
        return
    optim, schedule = config.optim, config.schedule
    sgd = isinstance(optim, SGDConfig)  # a choice that brings no weight decay
    counts = {
        "optim=sgd": sgd,
        "optim.momentum=0": isinstance(optim, SGDConfig) and optim.momentum == 0,
        "optim.lr=1": optim.lr == 1,
        "optim.weight_decay=0": optim.weight_decay == 0 or not sgd,
        "schedule=constant": isinstance(schedule, ConstantConfig),
        "schedule.warmup_steps=0": schedule.warmup_steps == 0,
        "trainer.grad_clip=0": config.trainer.grad_clip == 0,
    }
    missing = " ".join(word for word, holds in counts.items() if not holds)
    if missing:
        what = f"bigram is counted by plain SGD, which {config.optim.name} as it is set is not"
        yield f"model.kind: {what}. Fix: {missing}, or experiment=ladder_bigram"


def _schedule(schedule: ScheduleConfig, trainer: TrainerConfig) -> Iterator[str]:
    yield from _not_negative("schedule.warmup_steps", schedule.warmup_steps)
    if not trainer.budgets:  # else the steps are known once the corpus is: preflight asks again
        yield from long_warmup(
            schedule, trainer.max_steps, f"trainer.max_steps={trainer.max_steps}"
        )
    if isinstance(schedule, CosineConfig | LinearConfig) and not 0 <= schedule.final_fraction <= 1:
        yield (
            f"schedule.final_fraction: {schedule.final_fraction} is not in [0, 1], so the last "
            "learning rate would be negative or above the peak. Fix: schedule.final_fraction=0.1"
        )


def long_warmup(schedule: ScheduleConfig, steps: int, run: str) -> Iterator[str]:
    """A warm-up longer than the run's `steps`, which `run` puts in words."""
    if schedule.warmup_steps > steps:
        yield (
            f"schedule.warmup_steps: {schedule.warmup_steps} is longer than the run, {run}. "
            f"Fix: schedule.warmup_steps={max(steps, 0) // 10}"
        )


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
        yield from _positive(f"trainer.{key}", getattr(trainer, key))
    for key in ("sample_top_k", "checkpoint_interval", "threads"):
        if (value := getattr(trainer, key)) is not None:
            yield from _positive(f"trainer.{key}", value)
    for key in ("grad_clip", "min_delta", "sample_temperature", "sample_interval"):
        yield from _not_negative(f"trainer.{key}", getattr(trainer, key))
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


def _positive(key: str, value: int) -> Iterator[str]:
    if value < 1:
        yield f"{key}: {value} is below 1. Fix: {key}=1 or more"


def _not_negative(key: str, value: float) -> Iterator[str]:
    if not (math.isfinite(value) and value >= 0):
        yield f"{key}: {value} is not a finite number of at least 0. Fix: {key}=0 or more"
