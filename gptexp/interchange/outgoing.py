"""Runs as other programs read them: transformers, nanoGPT, llama.cpp."""

import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptexp.config import Config, GPTConfig, Position
from gptexp.data.load import format_of
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.files import made_aside, storage_errors, write_bytes
from gptexp.inference.load import load_run
from gptexp.interchange import gguf
from gptexp.interchange.families import Family
from gptexp.interchange.huggingface import CARD, KINDS
from gptexp.interchange.layouts import from_state
from gptexp.interchange.meta import write_meta
from gptexp.interchange.nanogpt import CHECKPOINT, LAYOUT, META, NANOGPT
from gptexp.interchange.tensors import WEIGHTS, imported
from gptexp.interchange.vocabulary import render
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import BytePairTokenizer
from gptexp.tokenizers.char import CharTokenizer

log = logging.getLogger(__name__)

PROGRAMS = {"huggingface": "-huggingface", "nanogpt": "-nanogpt", "gguf": ".gguf"}  # how files end


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A run's best weights, with what they mean."""

    run: Path
    config: Config
    model: GPTConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    step: int

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    def refuse(self, family: Family) -> None:
        """Raises CheckpointError, a line for each switch that such a model does not have."""
        fix = f"a run without it: docs/interchange.md says what {family.name} has"
        lacking = family.lacking(self.model)
        CheckpointError.raise_for(Problem(self.run, what, fix) for what in lacking)


def export_weights(run: Path, to: str, named: Path | None = None) -> Path:
    """Write the best weights of a run, or a checkpoint, for one of PROGRAMS; returns the path.

    That is a new folder, or an empty one, and of gguf a new file. Raises CheckpointError for a
    model that the program has not, ConfigError where something stands there, StorageError.
    """
    path = named or Path(f"{run.resolve().name}{PROGRAMS[to]}")
    outgoing = _read(run)
    is_file = to == "gguf"
    if path.exists() and (is_file or not path.is_dir() or any(path.iterdir())):
        raise ConfigError(Problem(path, "is there already", "--file OTHER"))
    if is_file:
        with storage_errors(path):
            data = _for_llama_cpp(outgoing)
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        return path
    files = _for_transformers(outgoing) if to == "huggingface" else _for_nanogpt(outgoing, path)
    with storage_errors(path), made_aside(path) as aside:
        aside.mkdir()
        for name, data in files.items():
            write_bytes(aside / name, data)
    return path


def _read(run: Path) -> Outgoing:
    loaded = load_run(run)
    model, weights = loaded.config.model, loaded.model.state_dict()
    if not isinstance(model, GPTConfig):
        what = f"model.kind is {model.kind}, and no other program has it"
        raise CheckpointError(Problem(run, what, "a run of a GPT"))
    bad = [name for name, weight in weights.items() if not weight.isfinite().all()]
    fix = "take a checkpoint from before it diverged"
    CheckpointError.raise_for(Problem(run, f"{name} has NaN or Infinity", fix) for name in bad)
    return Outgoing(run, loaded.config, model, loaded.tokenizer, weights, loaded.step)


def _for_transformers(outgoing: Outgoing) -> dict[str, bytes]:
    """The files of a folder that AutoModelForCausalLM and AutoTokenizer load."""
    model, end = outgoing.model, format_of(outgoing.config.data).stop(outgoing.tokenizer)
    kind = "llama" if model.position is Position.rope else "gpt2"
    architecture, family, layout = KINDS[kind]
    outgoing.refuse(family)
    tensors = from_state(outgoing.weights, layout, model, outgoing.vocab_size)
    card = family.write(model, outgoing.vocab_size)
    card |= {"model_type": kind, "architectures": [architecture]}
    card |= {"bos_token_id": end, "eos_token_id": end, "dtype": "float32", "torch_dtype": "float32"}
    weights = imported("safetensors.torch").save(tensors, metadata={"format": "pt"})
    files = {CARD: _json(card), WEIGHTS: weights}
    rendered = render(outgoing.tokenizer)
    if rendered is None:
        log.info("tokens  none written: %s", outgoing.tokenizer.describe())
        return files
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.block_size,
        "clean_up_tokenization_spaces": False,
    }
    return {**files, "tokenizer.json": rendered, "tokenizer_config.json": _json(settings)}


def _for_llama_cpp(outgoing: Outgoing) -> bytes:
    """A GGUF file; raises CheckpointError for tokens that it has no kind for."""
    model, tokenizer = outgoing.model, outgoing.tokenizer
    outgoing.refuse(gguf.family(model))
    if not (isinstance(tokenizer, BytePairTokenizer) and tokenizer.merges):
        what = f"its tokens are {tokenizer.describe()}, and GGUF has only merged byte pairs"
        fix = "--to huggingface, or a run with tokenizer=bpe or gpt2"
        raise CheckpointError(Problem(outgoing.run, what, fix))
    end = format_of(outgoing.config.data).stop(tokenizer)
    return gguf.render(outgoing.run.resolve().name, model, outgoing.weights, tokenizer, end)


def _for_nanogpt(outgoing: Outgoing, folder: Path) -> dict[str, bytes]:
    """A ckpt.pt that its sample.py loads, which finds meta.pkl where its `dataset` says."""
    model, tokenizer = outgoing.model, outgoing.tokenizer
    outgoing.refuse(NANOGPT)
    saved = {
        "model": from_state(outgoing.weights, LAYOUT, model, outgoing.vocab_size),
        "model_args": NANOGPT.write(model, outgoing.vocab_size),
        "iter_num": outgoing.step,
        "config": {"dataset": str(folder.resolve())},
    }
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    files = {CHECKPOINT: buffer.getvalue()}
    if isinstance(tokenizer, CharTokenizer):
        return {**files, META: write_meta(tokenizer)}
    log.info("tokens  none written: nanoGPT takes %s for GPT-2's", tokenizer.describe())
    return files


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()
