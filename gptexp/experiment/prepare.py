"""What can be refused is refused here, before a run directory exists or is taken up."""

from dataclasses import dataclass, replace

import torch

from gptexp.config import (
    Config,
    GPTConfig,
    MLPConfig,
    TrainerConfig,
    long_warmup,
)
from gptexp.data.corpus import Corpus, Splits
from gptexp.data.load import load_corpus
from gptexp.errors import ConfigError, Problem
from gptexp.experiment.compatibility import check_init
from gptexp.experiment.identity import Identity
from gptexp.models.counts import flops_per_token, training_memory
from gptexp.runtime import memory
from gptexp.runtime.device import Runtime, device_problems, probe_hardware, resolve_runtime
from gptexp.tokenizers.base import Tokenizer
from gptexp.training import budget


@dataclass(frozen=True)
class Inputs:
    """What the config's corpus and machine turned out to be."""

    data_line: str  # for the screen
    tokenizer: Tokenizer
    splits: Splits
    corpus: Corpus  # the splits on the device
    runtime: Runtime
    trainer: TrainerConfig  # the config's, with the max_steps that its budget comes to


def prepare(config: Config, who: Identity) -> Inputs:
    """Read the corpus, and check it and the machine against the config.

    Raises ConfigError, DataError and CheckpointError.
    """
    hardware = probe_hardware()
    ConfigError.raise_for(device_problems(config.trainer, hardware))
    where = resolve_runtime(config.trainer, hardware)
    loaded = load_corpus(config, who.data_sha256)
    tokenizer = loaded.tokenizer
    check_memory(config, tokenizer.vocab_size, where.device)
    if who.init is not None:
        check_init(config, who.init, tokenizer)
    corpus = loaded.corpus(where.device)
    trainer = budgeted(config, tokenizer.vocab_size, corpus)
    return Inputs(loaded.describe(), tokenizer, loaded.splits, corpus, where, trainer)


def budgeted(config: Config, vocab_size: int, corpus: Corpus) -> TrainerConfig:
    """The trainer's section with the max_steps that its budget comes to; raises ConfigError."""
    flops = flops_per_token(config.model, vocab_size)
    steps = budget.steps(config.trainer, corpus, flops)
    for key in config.trainer.budgets:
        words = f"{steps} steps by trainer.{key}={getattr(config.trainer, key)}"
        ConfigError.raise_for(long_warmup(config.schedule, steps, words))
    return replace(config.trainer, max_steps=steps)


def check_memory(config: Config, vocab_size: int, device: torch.device) -> None:
    """Raises ConfigError when the least that training takes is more than there is."""
    needed = training_memory(config.model, vocab_size, config.trainer.batch_size)
    available = memory.available_memory(device)
    if needed > available:
        width = ""
        if isinstance(config.model, GPTConfig | MLPConfig):
            width = f", or model.n_embd, now {config.model.n_embd}"
        raise ConfigError(
            Problem(
                "model",
                f"training it takes at least {needed / 1000000000.0:,.1f} GB, and {device} "
                f"has {available / 1000000000.0:,.1f} GB available",
                f"lower trainer.batch_size, now {config.trainer.batch_size}{width}",
            )
        )
