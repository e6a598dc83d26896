"""Documents for tests: each says which it is, and some are longer than the context."""

from pathlib import Path

import torch

from gptexp.config import DataConfig
from gptexp.data.characters import characters as characters_of_text
from gptexp.data.corpus import IGNORE_INDEX, Batch, Splits
from gptexp.data.documents import DocumentCorpus, Documents
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.char import CharTokenizer

CPU = torch.device("cpu")
BLOCK_SIZE = 8  # of SMALL too
Row = tuple[list[int], list[int]]  # inputs and targets


def numbered(count: int) -> list[str]:
    """Such as 07éééé: of 2 to 10 characters, different within the first two of them."""
    return [f"{i:02d}" + "é" * (i * 5 % 9) for i in range(count)]


def settings(path: Path | str = "lines.txt", **changes: float) -> DataConfig:
    values = {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.0} | changes
    kinds = {"documents": True, "shuffle": False}
    return DataConfig(name="lines", asset=None, path=str(path), **{**kinds, **values})


def tokenized(lines: list[str]) -> tuple[str, Tokenizer]:
    documents = Documents(settings())
    text = documents.normalise("\n".join(lines))
    return text, CharTokenizer(characters_of_text(documents.cfg, text))


def split_lines(
    lines: list[str], tokenizer: Tokenizer | None = None, **changes: float
) -> tuple[Splits, Tokenizer]:
    """The splits of a file with these lines, by characters where no tokenizer is given."""
    text, characters = tokenized(lines)
    tokenizer = tokenizer or characters
    return Documents(settings(**changes)).split(text, tokenizer, BLOCK_SIZE), tokenizer


def corpus(
    lines: list[str],
    block_size: int = BLOCK_SIZE,
    rows: int = 4,
    seed: int = 0,
    **changes: float,
) -> tuple[DocumentCorpus, Tokenizer]:
    splits, tokenizer = split_lines(lines, **changes)
    end = Documents(settings()).end(tokenizer)
    return DocumentCorpus(splits, block_size, rows, seed, CPU, end), tokenizer


def rows_of(batch: Batch) -> list[Row]:
    """Each row's inputs and targets without the padding, which must come last."""
    found = []
    for x, y in zip(*batch, strict=True):
        n = int((y != IGNORE_INDEX).sum())
        assert (y[:n] != IGNORE_INDEX).all()
        assert (y[n:] == IGNORE_INDEX).all()
        found.append((x[:n].tolist(), y[:n].tolist()))
    return found


def as_microgpt(line: str, tokenizer: Tokenizer, block_size: int) -> Row:
    """Inputs and targets of one document, as microGPT's loop has them."""
    tokens = tokenizer.encode(f"\n{line}\n").tolist()
    n = min(block_size, len(tokens) - 1)
    return tokens[:n], tokens[1 : n + 1]


def file_of(lines: list[str], folder: Path) -> Path:
    path = folder / "lines.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
