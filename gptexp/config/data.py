"""The data and tokenizer sections: every key with its type and meaning, beside its rules."""

from collections.abc import Iterator
from dataclasses import dataclass


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


@dataclass(kw_only=True, slots=True)
class TokenizerConfig:
    """Base of the tokenizer variants."""

    name: str  # which variant


@dataclass(kw_only=True, slots=True)
class CharTokenizerConfig(TokenizerConfig):
    """One token per distinct character of the corpus."""


@dataclass(kw_only=True, slots=True)
class ByteTokenizerConfig(TokenizerConfig):
    """One token per byte of the text's UTF-8 form: always 256 tokens."""


def _data(data: DataConfig) -> Iterator[str]:
    if (data.asset is None) == (data.path is None):
        both = f"both it and data.asset={data.asset} are given"
        what = "neither it nor data.asset is given" if data.asset is None else both
        yield f"data.path: {what}. Fix: data=text data.path=FILE"
    if data.shuffle and not data.documents:
        yield "data.shuffle: true, but only documents have another order. Fix: data.shuffle=false"
    if not 0 < data.fraction <= 1:
        yield f"data.fraction: {data.fraction} is not in (0, 1]. Fix: data.fraction=1.0"
    if not 0 < data.val_fraction < 1:
        yield f"data.val_fraction: {data.val_fraction} is not in (0, 1). Fix: data.val_fraction=0.1"
    if not 0 <= data.test_fraction < 1:
        yield f"data.test_fraction: {data.test_fraction} is not in [0, 1). Fix: 0 for no test part"
    elif 0 < data.val_fraction < 1 and data.val_fraction + data.test_fraction >= 1:
        yield (
            f"data.test_fraction: {data.test_fraction} and data.val_fraction={data.val_fraction} "
            "leave nothing to train on. Fix: lower one of them"
        )
