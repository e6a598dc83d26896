"""Everything that can be refused is refused here, before a run directory exists."""

from dataclasses import dataclass
from pathlib import Path

import torch

from gptexp import checkpoint, data, model, runtime, tokenizers
from gptexp.config import Config, config_hash, problems, run_name
from gptexp.errors import CheckpointError, ConfigError
from gptexp.rundir import RunDirectory
from gptexp.sample import read_checkpoint


@dataclass(frozen=True)
class Identity:
    """Which run a config names, known before anything large is read."""

    data_sha256: str
    hash: str
    directory: RunDirectory
    init: checkpoint.State | None  # model and tokenizer of the checkpoint behind init_from


@dataclass(frozen=True)
class Inputs:
    """What the config's corpus and machine turned out to be."""

    data_line: str  # for the screen
    tokenizer: tokenizers.Tokenizer
    splits: data.Splits
    runtime: runtime.Runtime


def identify(config: Config, outputs: Path) -> Identity:
    """Hash and directory of the run; raises ConfigError, DataError and CheckpointError."""
    if found := problems(config):
        raise ConfigError(*found)
    sha256 = data.digest(config.data)
    init, init_sha256 = None, None
    if config.init_from is not None:
        state = read_checkpoint(Path(config.init_from))
        init = {key: state[key] for key in ("model", "tokenizer")}
        init_sha256 = checkpoint.digest(init["model"])
    hashed = config_hash(config, sha256, init_sha256)
    path = outputs / config.name / run_name(config, hashed)
    return Identity(sha256, hashed, RunDirectory(path), init)


def prepare(config: Config, who: Identity) -> Inputs:
    """Read the corpus, and check it and the machine against the config.

    Raises ConfigError, DataError and CheckpointError.
    """
    hardware = runtime.probe()
    if found := runtime.problems(config.trainer, hardware):
        raise ConfigError(*found)
    where = runtime.resolve(config.trainer, hardware)
    text = data.read(config.data, who.data_sha256)
    tokenizer = tokenizers.build(config.tokenizer, text)
    splits = data.split(text, config.data, tokenizer, config.model.block_size)
    check_memory(config, tokenizer.vocab_size, where.device)
    if who.init is not None:
        check_init(config, who.init, tokenizer)
    line = data.describe(config.data, text, tokenizer, splits)
    return Inputs(line, tokenizer, splits, where)


def check_memory(config: Config, vocab_size: int, device: torch.device) -> None:
    """Raises ConfigError when the least that training takes is more than there is."""
    needed = model.training_memory(config.model, vocab_size, config.trainer.batch_size)
    available = runtime.available_memory(device)
    if needed > available:
        raise ConfigError(
            f"model: training it takes at least {needed / 1e9:,.1f} GB, and {device} has "
            f"{available / 1e9:,.1f} GB available. Fix: lower trainer.batch_size, "
            f"now {config.trainer.batch_size}, or model.n_embd, now {config.model.n_embd}"
        )


def check_init(config: Config, init: checkpoint.State, tokenizer: tokenizers.Tokenizer) -> None:
    """Weights mean the same only with the same vocabulary and shapes; raises CheckpointError."""
    if init["tokenizer"] != tokenizer.to_dict():
        raise CheckpointError(
            f"init_from: {config.init_from} has another vocabulary than this corpus. "
            "Fix: train on its corpus, or start without init_from"
        )
    with torch.device("meta"):
        wanted = model.GPT(config.model, tokenizer.vocab_size).state_dict()
    given = init["model"]
    for name in wanted | given:
        have = tuple(given[name].shape) if name in given else "missing"
        want = tuple(wanted[name].shape) if name in wanted else "missing"
        if have != want:
            raise CheckpointError(
                f"init_from: {name} is {have} in {config.init_from} and {want} in this config. "
                "Fix: use that run's model settings"
            )
