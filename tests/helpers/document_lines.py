"""Documents for tests: each says which it is, and some are longer than the context."""

from collections.abc import Callable
from pathlib import Path

import torch

from gptexp.config import Config, DataConfig
from gptexp.data import documents
from gptexp.data.documents import DocumentCorpus
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.char import CharTokenizer

CPU = torch.device("cpu")
BLOCK_SIZE = 8  # of SMALL too
Built = Callable[..., Config]


def numbered(count: int) -> list[str]:
    """Such as 07éééé: of 2 to 10 characters, different within the first two of them."""
    return [f"{i:02d}" + "é" * (i * 5 % 9) for i in range(count)]


def settings(path: Path | str = "lines.txt", **changes: float) -> DataConfig:
    values = {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.0} | changes
    kinds = {"documents": True, "shuffle": False}
    return DataConfig(name="lines", asset=None, path=str(path), **{**kinds, **values})


def tokenized(lines: list[str]) -> tuple[str, Tokenizer]:
    text = documents.normalised("\n".join(lines), False, "lines.txt")
    return text, CharTokenizer.of(text, last="\n")


def corpus(
    lines: list[str], block_size: int = BLOCK_SIZE, seed: int = 0, **changes: float
) -> tuple[DocumentCorpus, Tokenizer]:
    text, tokenizer = tokenized(lines)
    splits = documents.split(text, settings(**changes), tokenizer)
    boundary = documents.boundary(tokenizer)
    return DocumentCorpus(splits, block_size, seed, CPU, boundary), tokenizer


def as_microgpt(line: str, tokenizer: Tokenizer, block_size: int) -> tuple[list[int], list[int]]:
    """Inputs and targets of one document, as microGPT's loop has them."""
    tokens = tokenizer.encode(f"\n{line}\n").tolist()
    n = min(block_size, len(tokens) - 1)
    return tokens[:n], tokens[1 : n + 1]


def file_of(lines: list[str], folder: Path) -> Path:
    path = folder / "lines.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
