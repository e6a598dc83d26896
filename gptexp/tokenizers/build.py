"""Text to token ids and back, exactly. Each tokenizer writes itself into every checkpoint."""

from typing import Any

import numpy as np

from gptexp import plugins
from gptexp.config import ByteTokenizerConfig, CharTokenizerConfig, TokenizerConfig
from gptexp.errors import CheckpointError, Problem
from gptexp.tokenizers import own
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer, code_points, name_characters


def build_tokenizer(cfg: TokenizerConfig, text: str, characters: str) -> Tokenizer:
    """The tokenizer that the config asks for; a vocabulary is that of the whole corpus.

    `characters` are those of `text`, in the order that its format gives them.
    """
    if (plugin := plugins.own(cfg)) is not None:
        return own.build(plugin, cfg, text)
    match cfg:
        case CharTokenizerConfig():
            return CharTokenizer(characters)
        case ByteTokenizerConfig():
            return ByteTokenizer()
    raise TypeError(f"no tokenizer for {type(cfg).__name__}")


def tokenizer_from_dict(state: dict[str, Any]) -> Tokenizer:
    """The inverse of to_dict; raises CheckpointError for a tokenizer that is not known."""
    match state:
        case {"name": "char", "characters": str(characters)}:
            return CharTokenizer(characters)
        case {"name": "byte"}:
            return ByteTokenizer()
        case {"name": str(name)} if plugin := plugins.named("tokenizer", name):
            return own.from_dict(plugin, state)
    raise CheckpointError(
        Problem(
            "tokenizer",
            f"{state.get('name')!r:.40} is not known here",
            "use the gptexp that trained it",
        )
    )


def vocabulary_difference(checkpoint: Tokenizer, config: Tokenizer) -> str:
    """The difference between two vocabularies in words; empty when ids mean the same in both."""
    if checkpoint.to_dict() == config.to_dict():
        return ""
    words = f"checkpoint {checkpoint.describe()}, config {config.describe()}"
    if isinstance(checkpoint, CharTokenizer) and isinstance(config, CharTokenizer):
        theirs, ours = code_points(checkpoint.characters), code_points(config.characters)
        if len(lost := np.setdiff1d(theirs, ours)):
            words += f", only in the checkpoint {name_characters(lost)}"
        if len(new := np.setdiff1d(ours, theirs)):
            words += f", only in the config {name_characters(new)}"
        if not len(lost) and not len(new):
            words += ", the same ones in another order"
    return words
