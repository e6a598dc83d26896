"""What can be refused is refused here, before a run directory exists or is taken up."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gptexp import budget, checkpoint, data, networks, runtime, tokenizers
from gptexp.config import (
    Config,
    GPTConfig,
    MLPConfig,
    Position,
    TrainerConfig,
    config_hash,
    differences,
    from_dict,
    long_warmup,
    problems,
    run_name,
    stored_config,
)
from gptexp.corpus import Corpus, Splits
from gptexp.errors import CheckpointError, ConfigError
from gptexp.rundir import RunDirectory
from gptexp.sample import read_checkpoint


@dataclass(frozen=True)
class Identity:
    """Which run a config names, known before anything large is read."""

    data_sha256: str
    hash: str
    directory: RunDirectory
    init: checkpoint.State | None  # model, tokenizer and config behind init_from


@dataclass(frozen=True)
class Inputs:
    """What the config's corpus and machine turned out to be."""

    data_line: str  # for the screen
    tokenizer: tokenizers.Tokenizer
    splits: Splits
    corpus: Corpus  # the splits on the device
    runtime: runtime.Runtime
    trainer: TrainerConfig  # the config's, with the max_steps that its budget comes to


def identify(config: Config, outputs: Path) -> Identity:
    """Hash and directory of the run; raises ConfigError, DataError and CheckpointError."""
    if found := problems(config):
        raise ConfigError(*found)
    sha256 = data.digest(config.data)
    init, init_sha256 = None, None
    if config.init_from is not None:
        state = read_checkpoint(Path(config.init_from))
        init = {key: state[key] for key in ("model", "tokenizer", "config")}
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
    loaded = data.load(config, who.data_sha256)
    tokenizer = loaded.tokenizer
    check_memory(config, tokenizer.vocab_size, where.device)
    if who.init is not None:
        check_init(config, who.init, tokenizer)
    corpus = loaded.corpus(where.device)
    trainer = budgeted(config, tokenizer.vocab_size, corpus)
    return Inputs(loaded.describe(), tokenizer, loaded.splits, corpus, where, trainer)


def budgeted(config: Config, vocab_size: int, corpus: Corpus) -> TrainerConfig:
    """The trainer's section with the max_steps that its budget comes to; raises ConfigError."""
    flops = networks.flops_per_token(config.model, vocab_size)
    steps = budget.steps(config.trainer, corpus, flops)
    for key in config.trainer.budgets:
        words = f"{steps} steps by trainer.{key}={getattr(config.trainer, key)}"
        if found := list(long_warmup(config.schedule, steps, words)):
            raise ConfigError(*found)
    return replace(config.trainer, max_steps=steps)


def check_memory(config: Config, vocab_size: int, device: torch.device) -> None:
    """Raises ConfigError when the least that training takes is more than there is."""
    needed = networks.training_memory(config.model, vocab_size, config.trainer.batch_size)
    available = runtime.available_memory(device)
    if needed > available:
        width = ""
        if isinstance(config.model, GPTConfig | MLPConfig):
            width = f", or model.n_embd, now {config.model.n_embd}"
        raise ConfigError(
            f"model: training it takes at least {needed / 1e9:,.1f} GB, and {device} has "
            f"{available / 1e9:,.1f} GB available. Fix: lower trainer.batch_size, "
            f"now {config.trainer.batch_size}{width}"
        )


def check_init(config: Config, init: checkpoint.State, tokenizer: tokenizers.Tokenizer) -> None:
    """Weights mean the same only in the same architecture and vocabulary.

    Raises CheckpointError: a line for all, then a table of key, checkpoint, config.
    """
    with stored_config(f"init_from: {config.init_from}", "use the gptexp that wrote it"):
        stored = from_dict(init["config"])
    free = {"model.name", "model.dropout", "model.init_std", "model.scale_residuals"}
    if not isinstance(config.model, GPTConfig) or config.model.position is Position.none:
        free.add("model.block_size")
    rows = [
        f"{key}: checkpoint {theirs}, config {ours}. Fix: {key}={theirs}"
        for key, theirs, ours in differences(stored, config)
        if key.startswith("model.") and key not in free
    ]
    if (theirs := stored.model.kind) != (ours := config.model.kind):  # other keys then follow
        rows = [f"model.kind: checkpoint {theirs}, config {ours}. Fix: model={stored.model.name}"]
    rows += other_vocabulary(init, tokenizer, "leave init_from out")
    if rows := rows or other_shapes(config, init, tokenizer, "leave init_from out"):
        keys = ", ".join(row.partition(":")[0] for row in rows)
        raise CheckpointError(
            f"init_from: {config.init_from} has another architecture or vocabulary: {keys}. "
            "Fix: take its values, as below, or leave init_from out",
            *rows,
        )


def check_resume(
    config: Config, who: Identity, tokenizer: tokenizers.Tokenizer, state: checkpoint.State | None
) -> None:
    """That what stands in the run directory is of this config, before anything there is replaced.

    Raises ConfigError and CheckpointError: a line for all, then a table of key, stored, given.
    """
    check_config_file(config, who.directory)
    if state is None:
        return
    path, fix = who.directory.path, "rerun=true to train anew"
    if state["config_hash"] != who.hash:
        with stored_config(f"{path}: its checkpoints belong to another config", fix):
            stored = from_dict(state["config"])
        rows = [
            f"{key}: checkpoint {theirs}, config {ours}. Fix: {fix}"
            for key, theirs, ours in differences(stored, config)
        ]
        other = "another config" if rows else "another text, or to other weights of init_from"
        raise CheckpointError(f"{path}: its checkpoints belong to {other}. Fix: {fix}", *rows)
    # The config is the same, so these come from other code.
    rows = other_vocabulary(state, tokenizer, fix) or other_shapes(config, state, tokenizer, fix)
    if rows:
        raise CheckpointError(
            f"{path}: its checkpoints belong to another version of the code. Fix: {fix}", *rows
        )


def check_config_file(config: Config, directory: RunDirectory) -> None:
    """That nobody changed the config.yaml of a run which is to go on; raises ConfigError.

    The directory's name is a hash of the config, so a hashed key that differs was edited. The edit
    would have no effect, and be overwritten. So would that of a file which cannot be read: it is
    written atomically, so no kill tears it. Keys that are not hashed may differ; the command wins.
    """
    path, fix = directory.path / "config.yaml", "restore it, or delete it to have it written anew"
    if not path.exists():
        return
    stored = directory.config(fix)
    if found := differences(stored, config):
        keys = ", ".join(difference.key for difference in found)
        raise ConfigError(
            f"{path}: was edited: {keys}. Fix: {fix}; other settings go on the command line",
            *(
                f"{key}: config.yaml {theirs}, command {ours}. Fix: restore it"
                for key, theirs, ours in found
            ),
        )


def other_vocabulary(
    state: checkpoint.State, tokenizer: tokenizers.Tokenizer, fix: str
) -> list[str]:
    """The row of the checkpoint's tokenizer, if its tokens mean something else."""
    words = tokenizers.difference(tokenizers.from_dict(state["tokenizer"]), tokenizer)
    return [f"tokenizer: {words}. Fix: use its text and tokenizer, or {fix}"] if words else []


def other_shapes(
    config: Config, state: checkpoint.State, tokenizer: tokenizers.Tokenizer, fix: str
) -> list[str]:
    """A row for each parameter of another shape, where all keys agree: its code was another."""
    with torch.device("meta"):
        network = networks.blank(config.model, tokenizer.vocab_size)
    wanted: dict[str, Any] = {k: list(v.shape) for k, v in network.state_dict().items()}
    given: dict[str, Any] = {k: list(v.shape) for k, v in state["model"].items()}
    return [
        f"{name}: checkpoint {given.get(name, 'none')}, config {wanted.get(name, 'none')}. "
        f"Fix: use the gptexp that wrote it, or {fix}"
        for name in wanted | given
        if given.get(name) != wanted.get(name)
    ]
