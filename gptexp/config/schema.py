"""Every knob: its type and its one-line meaning. Values live in `conf/`, never here.

The classes are plain dataclasses without torch, because tab completion and `--cfg` import them. A
field without a default must be given by a YAML file. A field added after a release gets a default
that means the old behaviour, so that old run directories and checkpoints keep their identity.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptexp.config.data import (
    ByteTokenizerConfig,
    CharTokenizerConfig,
    DataConfig,
    TokenizerConfig,
    _data,
)
from gptexp.config.model import BigramConfig, GPTConfig, MLPConfig, ModelConfig, _model
from gptexp.config.optim import (
    AdamConfig,
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    LinearConfig,
    OptimConfig,
    ScheduleConfig,
    SGDConfig,
    _optim,
    _schedule,
)
from gptexp.config.trainer import LoggerConfig, TrainerConfig, _logger, _trainer


@dataclass(kw_only=True, slots=True)
class Config:
    """One run."""

    name: str  # folder under outputs/ that groups runs
    seed: int  # root of every random stream
    rerun: bool  # move a run of the same name aside and train anew
    init_from: str | None  # run directory or checkpoint whose weights to start from, or null
    model: ModelConfig
    data: DataConfig
    tokenizer: TokenizerConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    logger: LoggerConfig


VARIANTS: dict[str, dict[str, type]] = {
    "model": {"gpt": GPTConfig, "mlp": MLPConfig, "bigram": BigramConfig},
    "tokenizer": {"char": CharTokenizerConfig, "byte": ByteTokenizerConfig},
    "optim": {"adamw": AdamWConfig, "adam": AdamConfig, "sgd": SGDConfig},
    "schedule": {"cosine": CosineConfig, "linear": LinearConfig, "constant": ConstantConfig},
}

SINGLE: dict[str, type] = {
    "data": DataConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}


def variant(group: str, section: Mapping[str, Any]) -> Any:
    """Which of VARIANTS[group] the plain values of a section are of.

    The name of a model is the preset's, so its kind stands beside it; the first runs had one kind.
    """
    return section.get("kind", "gpt") if group == "model" else section["name"]


NAME_MAX = 80  # each of three labels and a hash share one file name of at most 255 bytes


def problems(config: Config) -> list[str]:
    """Each `<key>: <what is wrong, with the value>. Fix: <one action>`; empty when all is well."""
    return [
        *_names(config),
        *_model(config.model),
        *_data(config.data),
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
