"""Text to token ids and back, exactly. Each tokenizer writes itself into every checkpoint."""

from typing import Any

import numpy as np

from gptexp import plugins
from gptexp.config import (
    BPETokenizerConfig,
    ByteTokenizerConfig,
    CharTokenizerConfig,
    GPT2TokenizerConfig,
    StoredTokenizerConfig,
    TokenizerConfig,
)
from gptexp.errors import CheckpointError, Problem
from gptexp.tokenizers import merges, own
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import BytePairTokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer, are_characters, code_points, name_characters
from gptexp.tokenizers.ids import MOST_IDS, TokenIds


def build_tokenizer(
    cfg: TokenizerConfig, text: str, characters: str, training_text: str
) -> Tokenizer:
    """The tokenizer that the config asks for; raises ConfigError and DataError.

    Characters are those of the whole corpus, in the order that its format gives them; what is
    learned is learned from `training_text`, its part for training at data.fraction=1.
    """
    if (plugin := plugins.own(cfg)) is not None:
        return own.build(plugin, cfg, text)
    match cfg:
        case CharTokenizerConfig():
            return CharTokenizer(characters)
        case ByteTokenizerConfig():
            return ByteTokenizer()
        case BPETokenizerConfig():
            return BytePairTokenizer(cfg.name, merges.learned(training_text, cfg.vocab_size))
        case GPT2TokenizerConfig():
            return BytePairTokenizer(cfg.name, merges.published())
    raise TypeError(f"no tokenizer for {type(cfg).__name__}")


def tokenizer_from_dict(state: dict[str, Any]) -> Tokenizer:
    """The inverse of to_dict; raises CheckpointError for a tokenizer that is not known."""
    match state:
        case {"name": "char", "characters": str(chars)} if not chars or are_characters(chars):
            return CharTokenizer(chars)
        case {"name": "byte"}:
            return ByteTokenizer()
        case {"name": "ids", "vocab_size": int(size)} if size is not True and 0 < size <= MOST_IDS:
            return TokenIds(size)
        case {"name": "bpe" | "gpt2" as name, "merges": str(lines)}:
            return BytePairTokenizer.from_dict(name, lines)
        case {"name": str(name)} if plugin := plugins.named("tokenizer", name):
            return own.from_dict(plugin, state)
        case {"name": "char" | "bpe" | "gpt2" as name}:
            what = f"{name} without the text that tells its tokens"
            raise CheckpointError(Problem("tokenizer", what, "another checkpoint"))
    raise CheckpointError(
        Problem(
            "tokenizer",
            f"{state.get('name')!r:.40} is not known here",
            "use the gptexp that trained it",
        )
    )


def tokenizer_config(tokenizer: Tokenizer) -> TokenizerConfig:
    """The config that a tokenizer of ours, made elsewhere, would have come from."""
    match tokenizer:
        case CharTokenizer():
            return CharTokenizerConfig(name="char")
        case ByteTokenizer():
            return ByteTokenizerConfig(name="byte")
        case BytePairTokenizer(name="gpt2"):
            return GPT2TokenizerConfig(name="gpt2")
        case BytePairTokenizer(vocab_size=size):
            return BPETokenizerConfig(name="bpe", vocab_size=size)
        case TokenIds():
            return StoredTokenizerConfig(name="stored")
    raise TypeError(f"no config for {type(tokenizer).__name__}")


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
    elif isinstance(checkpoint, BytePairTokenizer) and isinstance(config, BytePairTokenizer):
        pairs = zip(checkpoint.merges.splitlines(), config.merges.splitlines(), strict=False)
        same = next((n for n, (theirs, ours) in enumerate(pairs) if theirs != ours), None)
        words += "" if same is None else f", other ones after the first {256 + same:,}"
    return words
