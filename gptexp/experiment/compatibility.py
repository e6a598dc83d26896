"""Whether what stands in a run directory, or behind init_from, fits the config."""

from gptexp.config import (
    UNITS,
    BPETokenizerConfig,
    Config,
    GPTConfig,
    Position,
    StoredTokenizerConfig,
    differences,
    from_dict,
    stored_config,
)
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.experiment.identity import Identity
from gptexp.inference import weights
from gptexp.runs import checkpoint
from gptexp.runs.directory import RunDirectory
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import tokenizer_from_dict, vocabulary_difference


def check_init(config: Config, init: checkpoint.State, tokenizer: Tokenizer) -> None:
    """Weights mean the same only in the same architecture and a vocabulary of the same kind.

    `tokenizer` is the one in which the corpus is read. Raises CheckpointError: a line for all, then
    a table of key, checkpoint, config.
    """
    with stored_config(f"init_from: {config.init_from}", "use the gptexp that wrote it"):
        stored = from_dict(init["config"])
    free = {"model.name", "model.dropout", "model.init_std", "model.scale_residuals"}
    if not isinstance(config.model, GPTConfig) or config.model.position is Position.none:
        free.add("model.block_size")
    rows = [
        Problem(key, f"checkpoint {theirs}, config {ours}", f"{key}={theirs}")
        for key, theirs, ours in differences(stored, config)
        if key.startswith("model.") and key not in free
    ]
    if (theirs := stored.model.kind) != (ours := config.model.kind):  # other keys then follow
        what = f"checkpoint {theirs}, config {ours}"
        rows = [Problem("model.kind", what, f"model={stored.model.name}")]
    own = tokenizer_from_dict(init["tokenizer"])
    name = init["tokenizer"]["name"]
    if isinstance(config.tokenizer, StoredTokenizerConfig):
        if what := vocabulary_difference(own, tokenizer):
            known = f"tokenizer={name}" if name in ("gpt2", "byte") else "leave init_from out"
            rows.append(Problem("tokenizer", what, known))
    elif name != config.tokenizer.name:
        unit = UNITS.get(config.tokenizer.name, "own tokens")
        what = f"checkpoint {own.describe()}, config {unit}"
        rows.append(Problem("tokenizer", what, f"tokenizer={name}"))
    elif isinstance(config.tokenizer, BPETokenizerConfig):
        size, given = own.vocab_size, config.tokenizer.vocab_size
        if size != given:
            key, what = "tokenizer.vocab_size", f"checkpoint {size}, config {given}"
            rows.append(Problem(key, what, f"{key}={size}"))
    if rows := rows or other_shapes(config, init, own, "leave init_from out"):
        keys = ", ".join(str(row.subject) for row in rows)
        raise CheckpointError(
            Problem(
                "init_from",
                f"{config.init_from} has another architecture or vocabulary: {keys}",
                "take its values, as below, or leave init_from out",
            ),
            *rows,
        )


def check_resume(
    config: Config, identity: Identity, tokenizer: Tokenizer, state: checkpoint.State | None
) -> None:
    """Check that what stands in the run directory is of this config, before anything is replaced.

    Raises ConfigError and CheckpointError: a line for all, then a table of key, stored, given.
    """
    check_config_file(config, identity.directory)
    path, fix = identity.directory.path, "rerun=true to train anew"
    if state is None:
        if identity.base is not None:  # its first checkpoint came with its directory
            raise CheckpointError(Problem(path, "its checkpoints are gone", fix))
        return
    if state["config_hash"] != identity.hash:
        with stored_config(f"{path}: its checkpoints belong to another config", fix):
            stored = from_dict(state["config"])
        rows = [
            Problem(key, f"checkpoint {theirs}, config {ours}", fix)
            for key, theirs, ours in differences(stored, config)
        ]
        other = "another config" if rows else "another text, or to other weights of init_from"
        raise CheckpointError(Problem(path, f"its checkpoints belong to {other}", fix), *rows)
    if state["step"] > config.trainer.max_steps and not config.trainer.budgets:
        what = f"a checkpoint of step {state['step']:,}, of {config.trainer.max_steps:,}"
        raise CheckpointError(Problem(path, what, fix))
    # The config is the same, so these come from other code.
    rows = other_vocabulary(state, tokenizer, fix) or other_shapes(config, state, tokenizer, fix)
    if rows:
        raise CheckpointError(
            Problem(path, "its checkpoints belong to another version of the code", fix), *rows
        )


def check_config_file(config: Config, directory: RunDirectory) -> None:
    """Check that nobody changed the config.yaml of a run which is to go on; raises ConfigError.

    The directory's name is a hash of the config, so a hashed key that differs was edited. The edit
    would have no effect, and be overwritten. So would that of a file which cannot be read: it is
    written atomically, so no kill tears it. Keys that are not hashed may differ; the command wins.
    """
    path, fix = directory.path / "config.yaml", "restore it, or delete it to have it written anew"
    if not path.exists():
        return
    stored = directory.config(fix)
    if edited := differences(stored, config):
        keys = ", ".join(difference.key for difference in edited)
        raise ConfigError(
            Problem(path, f"was edited: {keys}", f"{fix}; other settings go on the command line"),
            *(
                Problem(key, f"config.yaml {theirs}, command {ours}", "restore it")
                for key, theirs, ours in edited
            ),
        )


def other_vocabulary(state: checkpoint.State, tokenizer: Tokenizer, fix: str) -> list[Problem]:
    """The row of the checkpoint's tokenizer, if its tokens mean something else."""
    words = vocabulary_difference(tokenizer_from_dict(state["tokenizer"]), tokenizer)
    return [Problem("tokenizer", words, f"use its text and tokenizer, or {fix}")] if words else []


def other_shapes(
    config: Config, state: checkpoint.State, tokenizer: Tokenizer, fix: str
) -> list[Problem]:
    """A row for each parameter of another shape, where all keys agree: its code was another."""
    shapes = weights.other_shapes(config.model, tokenizer.vocab_size, state["model"])
    fix = f"use the gptexp that wrote it, or {fix}"
    return [
        Problem(name, f"checkpoint {theirs}, config {ours}", fix) for name, theirs, ours in shapes
    ]
