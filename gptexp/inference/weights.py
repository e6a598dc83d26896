"""What a checkpoint holds, read and verified; its weights held against its config."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptexp.config import AVERAGES, ModelConfig
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.models.base import Model
from gptexp.models.build import construct
from gptexp.models.counts import total_parameters
from gptexp.runs import checkpoint
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import tokenizer_from_dict

MOST_TABLES = 2**26  # numbers that a model may make beside its weights, however few these are


def read_checkpoint(run: Path, weights: str = "raw") -> checkpoint.State:
    """The verified state behind a run directory (its best) or a checkpoint file.

    Its model is the average of the weights that is asked for. Raises CheckpointError, and
    ConfigError for one that no run has.
    """
    if weights not in (known := ("raw", *AVERAGES)):
        what = f"{weights!r} is not known"
        raise ConfigError(Problem("weights", what, f"one of {', '.join(known)}"))
    state = _read_state(run, weights)
    if weights == "raw":
        return state
    if (average := state.get("averages", {}).get(weights)) is None:
        what = f"holds no {weights} of the weights"
        raise CheckpointError(Problem(run, what, "a later checkpoint, or the raw weights"))
    return {**state, "model": average["model"]}


def _read_state(run: Path, weights: str) -> checkpoint.State:
    """The verified state of a checkpoint file, or of the best one by these weights."""
    try:
        if run.is_dir():
            if not (run / "checkpoints").is_dir():
                what, fix = "not a run directory", "name one, outputs/NAME/RUN"
                if (run / "manifest.json").exists():
                    what, fix = "its checkpoints are gone", "restore them, or train it again"
                raise CheckpointError(Problem(run, what, fix))
            return checkpoint.Store(run / "checkpoints").best(weights)
        if run.exists():
            return checkpoint.read(run)
    except OSError as error:
        raise CheckpointError(Problem(run, f"{error.strerror}", "make it readable")) from error
    raise CheckpointError(Problem(run, "not there", "name a run directory, as in outputs/NAME/RUN"))


def stored_tokenizer(state: checkpoint.State) -> Tokenizer:
    """The tokenizer of a checkpoint, with the token that ends its documents, where one does.

    Raises CheckpointError.
    """
    tokenizer = tokenizer_from_dict(state["tokenizer"])
    end = tokenizer.end_of_text = state.get("end_of_text", tokenizer.end_of_text)
    if end is not None and not 0 <= end < tokenizer.vocab_size:
        what = f"none of {tokenizer.describe()}"
        raise CheckpointError(Problem("end_of_text", what, "use the gptexp that wrote it"))
    return tokenizer


def check_shapes(cfg: ModelConfig, vocab_size: int, weights: dict[str, Tensor]) -> None:
    """Check that the model of `cfg` has these weights, before any memory is taken for it.

    Raises ConfigError for a config that no model has, CheckpointError for other shapes.
    """
    ConfigError.raise_for(cfg.problems())
    wanted, given = total_parameters(cfg, vocab_size), sum(w.numel() for w in weights.values())
    if wanted > given:  # so a model of so many layers is not even sketched
        what = f"its config has {wanted:,} parameters, and it holds {given:,}"
        raise CheckpointError(Problem("model", what, "use the gptexp that wrote it"))
    sketch = _sketched(cfg, vocab_size)
    tables = sum(table.numel() for table in sketch.buffers())
    if tables > max(MOST_TABLES, given):  # as of rope, whose file holds none of them
        what = f"{cfg.block_size} takes tables of {tables:,} numbers, for {given:,} weights"
        raise CheckpointError(Problem("model.block_size", what, "use the gptexp that wrote it"))
    CheckpointError.raise_for(
        Problem(name, f"{theirs}, and its config makes it {ours}", "use the gptexp that wrote it")
        for name, theirs, ours in _unlike(sketch, weights)
    )


def other_shapes(
    cfg: ModelConfig, vocab_size: int, weights: dict[str, Tensor]
) -> list[tuple[str, Any, Any]]:
    """The name of each parameter whose shape differs, its shape in `weights`, and by `cfg`."""
    return _unlike(_sketched(cfg, vocab_size), weights)


def _unlike(sketch: Model, weights: dict[str, Tensor]) -> list[tuple[str, Any, Any]]:
    wanted = {name: list(value.shape) for name, value in sketch.state_dict().items()}
    given = {name: list(value.shape) for name, value in weights.items()}
    return [
        (name, given.get(name, "none"), wanted.get(name, "none"))
        for name in wanted | given
        if given.get(name) != wanted.get(name)
    ]


def _sketched(cfg: ModelConfig, vocab_size: int) -> Model:
    """The model without its numbers."""
    with torch.device("meta"):
        return construct(cfg, vocab_size)
