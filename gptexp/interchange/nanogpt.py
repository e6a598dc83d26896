"""nanoGPT's ckpt.pt made a run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from gptexp.config import Activation, DataConfig, from_overrides
from gptexp.data.characters import characters
from gptexp.data.read import read_text
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.interchange import gpt2
from gptexp.interchange.adopt import Foreign, adopt, described, settings
from gptexp.interchange.families import Family, Key, Size
from gptexp.interchange.layouts import to_state
from gptexp.interchange.meta import read_meta
from gptexp.interchange.parts import Parts, cut_rows
from gptexp.interchange.tensors import check_files, named_tensors
from gptexp.interchange.vocabulary import announced, guessed
from gptexp.runs import checkpoint
from gptexp.runs.directory import OUTPUTS
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.char import CharTokenizer

CHECKPOINT, META = "ckpt.pt", "meta.pkl"

WHOLE = "a ckpt.pt that nanoGPT's train.py wrote"

PREFIX = "_orig_mod."  # what torch.compile puts before each name

Steps = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


NANOGPT = Family(
    "nanoGPT",
    "nanogpt",
    keys=[  # of `model_args`: what nanoGPT's GPTConfig takes
        Key("n_layer", "n_layer", Size),
        Key("n_head", "n_head", Size),
        Key("n_embd", "n_embd", Size),
        Key("block_size", "block_size", Size),
        Key("vocab_size", "vocab_size", Size),
        Key("bias", "bias", bool, True),
        Key("dropout", "dropout"),
    ],
    fixed={**gpt2.FIXED, "activation": Activation.gelu, "tie_head": True, "norm_eps": 1e-5},
    free=gpt2.FREE,
)

LAYOUT = replace(gpt2.LAYOUT, transposed=False, biases=False, tied_head=True)


class Recipe(msgspec.Struct, kw_only=True):
    """What of `config` tells how many tokens a step has."""

    batch_size: Size = 1
    gradient_accumulation_steps: Size = 1


class Saved(msgspec.Struct, kw_only=True):
    """A ckpt.pt but for its tensors."""

    model_args: dict[str, Any]
    iter_num: Steps = 0
    config: Recipe = msgspec.field(default_factory=Recipe)


def import_checkpoint(
    path: Path,
    overrides: Sequence[str],
    outputs: Path = OUTPUTS,
    *,
    meta: Path | None = None,
    text: Path | None = None,
) -> Path:
    """Make a run directory of a ckpt.pt, or of the folder that holds it; returns it.

    Its characters are those of `meta`, a meta.pkl, else of `text`, else of the meta.pkl beside it.
    It is judged as a Hugging Face folder is. Raises CheckpointError, ConfigError, DataError,
    InUseError, StorageError.
    """
    file = path / CHECKPOINT if path.is_dir() else path
    config = settings(path, overrides)
    state = _read(file)
    saved, arguments = _saved(file, state)
    CheckpointError.raise_for(Problem(file, what, WHOLE) for what in NANOGPT.unknown(arguments))
    model, rows = NANOGPT.model(arguments)
    vocabulary = _vocabulary(file, rows, meta, text)
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in state["model"].items()}
    weights = to_state(Parts(tensors, file), LAYOUT, model, rows)
    weights = cut_rows(weights, vocabulary.vocab_size)
    foreign = Foreign(
        source=path,
        model=model,
        tokenizer=vocabulary,
        weights=weights,
        content=described("nanoGPT", weights, vocabulary),
        step=saved.iter_num,
        rows=saved.config.batch_size * saved.config.gradient_accumulation_steps,
    )
    return adopt(foreign, config, overrides, outputs)


def _read(file: Path) -> dict[str, Any]:
    """What ckpt.pt holds; raises CheckpointError unless it has tensors under `model`."""
    check_files([file])
    state = checkpoint.load_plain(file, WHOLE)
    named_tensors(file, state.get("model") if isinstance(state, dict) else None, WHOLE)
    return state


def _saved(file: Path, state: dict[str, Any]) -> tuple[Saved, msgspec.Struct]:
    """What the file says of its training, and of its model by the keys of NANOGPT."""
    plain = {key: state[key] for key in ("model_args", "iter_num", "config") if key in state}
    try:
        saved = msgspec.convert(plain, Saved)
        return saved, msgspec.convert(saved.model_args, NANOGPT.struct)
    except msgspec.ValidationError as error:
        what = f"does not say what it is: {str(error).replace('`', '').replace(' - at $.', ' at ')}"
        raise CheckpointError(Problem(file, what, WHOLE)) from error


def _vocabulary(file: Path, rows: int, meta: Path | None, text: Path | None) -> Tokenizer:
    """The tokenizer of a model with so many rows.

    Raises CheckpointError, ConfigError and DataError.
    """
    if meta is not None and text is not None:
        raise ConfigError(Problem("--text", "--meta tells the characters too", "one of the two"))
    beside = file.parent / META
    if text is not None:
        return _of_text(text, rows)
    if meta is None and not beside.exists():
        return guessed(rows, "--meta data/NAME/meta.pkl, or --text FILE, says it")
    tokenizer = read_meta(meta or beside)
    if tokenizer.vocab_size > rows:
        what = f"{tokenizer.vocab_size:,} characters, and the model has {rows:,} tokens"
        raise CheckpointError(Problem(meta or beside, what, "the meta.pkl of its own text"))
    return announced(tokenizer, rows)


def _of_text(path: Path, rows: int) -> Tokenizer:
    """The characters of a text, which have to be as many as the model knows."""
    data: DataConfig = replace(from_overrides([]).data, name="text", asset=None, path=str(path))
    tokenizer = CharTokenizer(characters(data, read_text(data)))
    if tokenizer.vocab_size != rows:
        what = f"{path} has {tokenizer.vocab_size:,} characters, and the model {rows:,} tokens"
        raise ConfigError(Problem("--text", what, "the text that it was trained on, whole"))
    return announced(tokenizer, rows)
