"""Llama in Meta's own folders, and those of others that are laid out alike, made runs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from torch import Tensor

from gptexp.config import Activation
from gptexp.errors import CheckpointError, Problem
from gptexp.files import read_json
from gptexp.interchange import llama
from gptexp.interchange.adopt import Foreign, adopt, described, settings
from gptexp.interchange.families import Family, Key, Positive, Size, Values
from gptexp.interchange.layouts import Layout, to_state
from gptexp.interchange.parts import Parts, cut_rows
from gptexp.interchange.tensors import check_files, named_tensors, read_files
from gptexp.interchange.vocabulary import by_number, read_vocabulary
from gptexp.runs import checkpoint
from gptexp.runs.directory import OUTPUTS
from gptexp.tokenizers.base import Tokenizer

PARAMS, TOKENS = "params.json", "tokenizer.model"

SAFE, WEIGHTS, SECOND = "consolidated.safetensors", "consolidated.00.pth", "consolidated.01.pth"

WHOLE = "a whole copy of the folder, with params.json and consolidated.00.pth"

TABLE, HEAD = "tok_embeddings", "output"


def _unknown(values: Values) -> Iterator[str]:
    heads, width = values["n_heads"], values["dim"]
    if values["head_dim"] not in (None, width / heads):
        yield f"head_dim is {values['head_dim']}, and heads here are dim / n_heads wide"
    if not 0 < _width(values) <= 2**24:
        yield f"ffn_dim_multiplier and multiple_of make {_width(values):,} hidden units"


def _width(values: Values) -> int:
    """Hidden units: 8/3 of the width, times a factor, up to the next multiple."""
    if values["hidden_dim"] is not None:
        return values["hidden_dim"]
    width = int(2 * 4 * values["dim"] / 3)
    if values["ffn_dim_multiplier"] is not None:
        width = int(values["ffn_dim_multiplier"] * width)
    return math.ceil(width / values["multiple_of"]) * values["multiple_of"]


def _settled(values: Values) -> dict[str, Any]:
    groups = values["n_kv_heads"]
    base = llama.BASE if values["rope_theta"] is None else values["rope_theta"]
    kv_heads = None if groups == values["n_heads"] else groups
    return {"mlp_width": _width(values), "n_kv_head": kv_heads, "rope_base": base}


META = Family(
    "Llama",
    "llama",
    keys=[  # what a file leaves out is as the code that Meta published takes it
        Key("dim", "n_embd", Size),
        Key("n_layers", "n_layer", Size),
        Key("n_heads", "n_head", Size),
        Key("n_kv_heads", "n_kv_head", Size | None, None),
        # -1: as many as the table has rows
        Key("vocab_size", "vocab_size", Annotated[int, msgspec.Meta(ge=-1, le=2**24)], -1),
        Key("max_seq_len", "block_size", Size, 2048),
        Key("norm_eps", "norm_eps", Positive, 1e-5),
        Key("rope_theta", "rope_base", Positive | None, None),
        Key("multiple_of", None, Size, 256),
        Key("ffn_dim_multiplier", None, Positive | None, None),
        Key("hidden_dim", None, Size | None, None),
        Key("head_dim", None, Size | None, None),
        Key("use_scaled_rope", None, bool, False, only=llama.SCALED),
        Key("sliding_window", None, Size | None, None, only="all tokens are seen here"),
    ],
    fixed={**llama.FIXED, "bias": False, "activation": Activation.swiglu, "tie_head": False},
    more=_unknown,
    settled=_settled,
)

LAYOUT = Layout(
    outside={"token_table": TABLE, "final_norm": "norm", "head": HEAD},
    inside={
        "attention_norm": ["attention_norm"],
        "attention.qkv": ["attention.wq", "attention.wk", "attention.wv"],
        "attention.proj": ["attention.wo"],
        "mlp_norm": ["ffn_norm"],
        "mlp.up": ["feed_forward.w1", "feed_forward.w3"],
        "mlp.proj": ["feed_forward.w2"],
    },
    layer="layers.",
    ignored=r"rope\.freqs$",  # follows from the base
)


def import_llama(folder: Path, overrides: Sequence[str], outputs: Path = OUTPUTS) -> Path:
    """Make a run directory of a folder with params.json and one file of weights; returns it.

    It is judged as a Hugging Face folder is. Raises CheckpointError, ConfigError, DamagedError,
    DataError, InUseError, StorageError.
    """
    config = settings(folder, overrides)
    params = read_json(folder / PARAMS, META.struct, WHOLE)
    if params is None:
        raise CheckpointError(Problem(folder, f"holds no {PARAMS}", WHOLE))
    problems = (Problem(folder / PARAMS, what, "another model") for what in META.unknown(params))
    CheckpointError.raise_for(problems)
    model, rows = META.model(params)
    tensors = _read(folder)
    if rows < 1:
        table = tensors.get(f"{TABLE}.weight")
        rows = len(table) if table is not None and table.ndim == 2 else 1
    model = replace(model, tie_head=f"{HEAD}.weight" not in tensors)
    vocabulary = _vocabulary(folder, rows)
    weights = to_state(Parts(tensors, folder), LAYOUT, model, rows)
    weights = cut_rows(weights, vocabulary.vocab_size)
    content = described("Meta", weights, vocabulary)
    return adopt(Foreign(folder, model, vocabulary, weights, content), config, overrides, outputs)


def _read(folder: Path) -> dict[str, Tensor]:
    """The tensors of the one file of weights; raises CheckpointError."""
    if (folder / SECOND).exists():
        what = f"holds {SECOND}, and the parts of several devices are not put together"
        fix = "a copy in Hugging Face's layout, and --from huggingface"
        raise CheckpointError(Problem(folder, what, fix))
    if (file := folder / SAFE).exists():
        return read_files([file])
    file = folder / WEIGHTS
    check_files([file])
    return named_tensors(file, checkpoint.load_plain(file, WHOLE), WHOLE)


def _vocabulary(folder: Path, rows: int) -> Tokenizer:
    if (folder / TOKENS).exists():
        return by_number(rows, f"{TOKENS} is SentencePiece's or tiktoken's, and neither is read")
    return read_vocabulary(folder, rows)
