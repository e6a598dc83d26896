"""The data and tokenizer sections: every key with its type and meaning, beside its rules."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from gptexp.errors import Problem
from gptexp.text import plain


class Windows(Enum):
    """How the windows of a text follow each other in training."""

    random = "random"
    epoch = "epoch"


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """A text, or documents, cut into train, test and validation."""

    name: str  # label, part of the run's directory name
    asset: str | None  # a corpus known by name (see assets.py), or null
    path: str | None  # a UTF-8 text file of your own, or null
    fraction: float  # prefix of the training tokens to train on, in (0, 1]
    val_fraction: float  # share at the end, of characters or documents, kept for validation
    test_fraction: float  # share right before that kept for a final test
    documents: bool = False  # each line is a document of its own, which no context reaches beyond
    shuffle: bool = False  # documents in another order than the file's, the same for every seed
    sampling: Windows = Windows.random  # windows of a text: each at random, or once an epoch
    tokens: bool = False  # data.path is a folder, a glob or a file of token ids, and no text
    vocab_size: int | None = None  # of token files without a tokenizer; null is GPT-2's 50,257
    val_tokens: int | None = None  # of token files, so many of a split are judged at most
    mask_documents: bool = False  # token files: no token sees another document than its own
    parts: dict[str, float] = field(default_factory=dict)  # of a mix: its corpora, and their shares
    chat: bool = False  # each line is a conversation as JSON, of which answers alone are predicted

    @property
    def has_text(self) -> bool:
        """Whether a corpus is named: a model that was imported without one has none."""
        return bool(self.parts) or (self.asset, self.path) != (None, None)

    @property
    def is_listed(self) -> bool:
        """Whether it is a list of documents or conversations, which no context reaches beyond."""
        return self.documents or self.chat

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range, or contradicts itself."""
        if self.chat:
            yield from self._conversations()
        if self.parts or (self.name == "mix" and self.asset is self.path is None):
            yield from self._mix()
        elif (self.asset is None) == (self.path is None):
            both = f"both it and data.asset={self.asset} are given"
            what = "neither it nor data.asset is given" if self.asset is None else both
            yield Problem("data.path", what, "data=text data.path=FILE")
        if self.tokens:
            yield from self._token_files()
        elif self.vocab_size is not None or self.val_tokens is not None:
            key = "vocab_size" if self.vocab_size is not None else "val_tokens"
            what = f"{getattr(self, key)}, but only token files have it"
            yield Problem(f"data.{key}", what, f"data.{key}=null")
        if self.mask_documents and not self.tokens:
            what = "true, but a text has no token between documents, as token files do"
            if self.is_listed:
                kind = "conversations" if self.chat else "data.documents"
                what = f"true, but no context of {kind} has more than one"
            yield Problem("data.mask_documents", what, "data.mask_documents=false")
        if self.shuffle and not self.is_listed:
            what = "true, but only documents have another order"
            yield Problem("data.shuffle", what, "data.shuffle=false")
        if self.is_listed and self.sampling is Windows.epoch:
            kind = "conversations" if self.chat else "documents"
            what = f"epoch, and {kind} are taken once an epoch anyway"
            yield Problem("data.sampling", what, "data.sampling=random, which they do not heed")
        if not 0 < self.fraction <= 1:
            yield Problem("data.fraction", f"{self.fraction} is not in (0, 1]", "data.fraction=1.0")
        val, test = self.val_fraction, self.test_fraction
        if not 0 < val < 1:
            yield Problem("data.val_fraction", f"{val} is not in (0, 1)", "data.val_fraction=0.1")
        if not 0 <= test < 1:
            yield Problem(
                "data.test_fraction", f"{test} is not in [0, 1)", "data.test_fraction=0, for none"
            )
        elif 0 < val < 1 and val + test >= 1:
            what = f"{test} and data.val_fraction={val} leave nothing to train on"
            yield Problem("data.test_fraction", what, "lower one of them")

    def _conversations(self) -> Iterator[Problem]:
        for key in ("documents", "tokens", "parts"):
            if getattr(self, key):
                of = "a mix has none" if key == "parts" else f"data.{key} is true"
                what = f"true, and {of}: conversations are a kind of their own"
                yield Problem("data.chat", what, "data.chat=false")

    def _token_files(self) -> Iterator[Problem]:
        if self.documents:
            what = "true, and data.tokens too: token files are one stream"
            yield Problem("data.documents", what, "data.documents=false")
        if self.vocab_size is not None and not 2 <= self.vocab_size <= 2**31:
            what = f"{self.vocab_size} is not in [2, 2^31]"
            yield Problem("data.vocab_size", what, "data.vocab_size=50257, GPT-2's")
        if self.val_tokens is not None and self.val_tokens < 2:
            what = f"{self.val_tokens} leaves nothing to predict"
            yield Problem("data.val_tokens", what, "data.val_tokens=1048576, or null for all")

    def _mix(self) -> Iterator[Problem]:
        for key, none in (("asset", None), ("path", None), ("tokens", False)):
            if (value := getattr(self, key)) != none:
                what = f"{plain(value)}, and data.parts name what a mix is of"
                yield Problem(f"data.{key}", what, f"data.{key}={plain(none)}")
        if not isinstance(self.parts, dict) or not all(map(_is_share, self.parts.values())):
            what = f"{self.parts} are no finite shares of 0 or more"
            yield Problem("data.parts", what, "data.parts.shakespeare=0.7")
        elif not any(self.parts.values()):
            what = f"{self.parts} leave nothing to train on" if self.parts else "there are none"
            yield Problem(
                "data.parts", what, "data.parts.shakespeare=0.7 data.parts.dictionary=0.3"
            )


def part_label(key: str) -> str:
    """What a part of a mix is called: an entry of conf/data as it is, a file without its ending."""
    return re.sub(r"[^\w+-]", "_", Path(key).stem, flags=re.ASCII) if is_file(key) else key


def is_file(key: str) -> bool:
    """Whether a part of a mix is a file: an entry of conf/data has no dot or slash in its name."""
    return re.fullmatch(r"[\w-]+", key) is None


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < math.inf


@dataclass(kw_only=True, slots=True)
class TokenizerConfig:
    """Base of the tokenizer variants."""

    name: str  # which variant

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range; a variant with keys of its own adds them."""
        yield from ()


@dataclass(kw_only=True, slots=True)
class CharTokenizerConfig(TokenizerConfig):
    """One token per distinct character of the corpus, or those of the run behind init_from."""

    extend: bool = False  # with init_from: new rows for characters that its vocabulary lacks


@dataclass(kw_only=True, slots=True)
class ByteTokenizerConfig(TokenizerConfig):
    """One token per byte of the text's UTF-8 form: always 256 tokens."""


@dataclass(kw_only=True, slots=True)
class BPETokenizerConfig(TokenizerConfig):
    """Byte pairs, learned from the training part of the text, or those of init_from."""

    vocab_size: int  # tokens, 256 of them the bytes; the others are learned

    def problems(self) -> Iterator[Problem]:
        if self.vocab_size < 256:
            what = f"{self.vocab_size} has no room for the 256 bytes"
            yield Problem("tokenizer.vocab_size", what, "tokenizer.vocab_size=256 or more")


@dataclass(kw_only=True, slots=True)
class GPT2TokenizerConfig(TokenizerConfig):
    """The 50,257 byte pairs of GPT-2."""


@dataclass(kw_only=True, slots=True)
class StoredTokenizerConfig(TokenizerConfig):
    """That of token files, as their manifest holds it; without one, bare ids."""


TOKENIZERS: dict[str, type[TokenizerConfig]] = {
    "char": CharTokenizerConfig,
    "byte": ByteTokenizerConfig,
    "bpe": BPETokenizerConfig,
    "gpt2": GPT2TokenizerConfig,
    "stored": StoredTokenizerConfig,
}

# What the tokens of ours are, that n-grams are counted of.
UNITS = {
    "char": "characters",
    "byte": "bytes",
    "bpe": "tokens",
    "gpt2": "tokens",
    "stored": "tokens",
}
