"""A tokenizer of own code, built, and held to what tokenizers/base.py says of each."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from gptexp import plugins
from gptexp.config import TokenizerConfig
from gptexp.errors import ConfigError, Problem
from gptexp.plugins import Plugin
from gptexp.text import shortened
from gptexp.tokenizers.base import Tokenizer

TRIED = 100_000  # characters of the corpus


def build(plugin: Plugin, cfg: TokenizerConfig, text: str) -> Tokenizer:
    """The tokenizer of a corpus; raises ConfigError for one that does not keep its word."""
    kind: Any = plugin.call
    with plugins.running(plugin):
        tokenizer: Tokenizer = kind.build(cfg, text)
        ConfigError.raise_for(
            Problem(str(plugin), what, "correct it") for what in _defects(plugin, tokenizer, text)
        )
        return tokenizer


def from_dict(plugin: Plugin, state: dict[str, Any]) -> Tokenizer:
    """The inverse of to_dict; raises ConfigError."""
    kind: Any = plugin.call
    with plugins.running(plugin):
        tokenizer: Tokenizer = kind.from_dict(state)
        return tokenizer


def _defects(plugin: Plugin, tokenizer: Any, text: str) -> Iterator[str]:
    """The first thing in which it is no tokenizer, tried on the beginning of the corpus."""
    if not isinstance(tokenizer, Tokenizer):
        yield f"build returns {shortened(repr(tokenizer))}, and no gptexp.tokenizers.base.Tokenizer"
        return
    text, vocab_size = text[:TRIED], tokenizer.vocab_size
    state = tokenizer.to_dict()
    if not isinstance(state, dict) or state.get("name") != plugin.name:
        yield f'to_dict returns no dictionary with "name": "{plugin.name}"'
        return
    ids = tokenizer.encode(text)
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        yield "encode returns no array of np.int64 [tokens]"
    elif len(ids) and not 0 <= ids.min() <= ids.max() < vocab_size:
        yield f"encode returns ids from {ids.min()} to {ids.max()}, and vocab_size is {vocab_size}"
    elif (back := tokenizer.decode(ids)) != text:
        yield f"it does not round trip: {_parting(text, back)}"
    elif np.shape(lengths := tokenizer.byte_lengths()) != (vocab_size,):
        yield f"byte_lengths has shape {np.shape(lengths)}, and vocab_size is {vocab_size}"
    elif (total := int(lengths[ids].sum())) != (size := len(text.encode())):
        yield f"its byte_lengths add up to {total:,} over a text of {size:,} bytes"
    else:
        again = from_dict(plugin, json.loads(json.dumps(state)))
        if not np.array_equal(again.encode(text), ids):
            yield "from_dict(to_dict()) is another tokenizer"


def _parting(text: str, back: str) -> str:
    """Where a decoded text first differs from the one that was encoded."""
    pairs = zip(text, back, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(back)))
    original, decoded = (repr(part[place : place + 10]) for part in (text, back))
    return f"at character {place:,}, {original} comes back as {decoded}"
