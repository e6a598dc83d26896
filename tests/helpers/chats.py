"""Conversations for tests, as lines of JSON, and what a corpus makes of them."""

import json
from pathlib import Path

import torch

from gptexp.config import DataConfig
from gptexp.data.chat import ChatCorpus, Chats
from gptexp.data.corpus import IGNORE_INDEX, Batch, Splits
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.byte import ByteTokenizer

CPU = torch.device("cpu")


def line(*texts: str, system: str | None = None) -> str:
    """A conversation of these questions and answers in turn."""
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    heading = [] if system is None else [{"role": "system", "content": system}]
    return json.dumps({"messages": heading + messages})


def numbered(count: int) -> list[str]:
    """Of one to three questions, which say which they are; the first of some has a heading."""
    return [
        line(
            *(
                f"{word}{i}.{turn}"
                for turn in range(1 + i % 3)
                for word in ("q", "answer" * (i % 2))
            ),
            system="Be brief." if i % 4 == 0 else None,
        ).replace('""', '"."')
        for i in range(count)
    ]


def settings(path: Path | str = "chats.jsonl", **changes: float | bool) -> DataConfig:
    """The section of such a file, in its own order."""
    values = {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.0, "shuffle": False}
    return DataConfig(name="chat", asset=None, path=str(path), chat=True, **values | changes)


def split_chats(
    lines: list[str], tokenizer: Tokenizer | None = None, **changes: float
) -> tuple[Splits, Tokenizer]:
    """The splits of a file with these lines, by bytes where no tokenizer is given."""
    chats, tokenizer = Chats(settings(**changes)), tokenizer or ByteTokenizer()
    return chats.split(chats.normalise("\n".join(lines)), tokenizer, 1), tokenizer


def corpus(
    lines: list[str],
    block_size: int = 64,
    rows: int = 4,
    tokenizer: Tokenizer | None = None,
    **changes: float,
) -> tuple[ChatCorpus, Tokenizer]:
    splits, tokenizer = split_chats(lines, tokenizer, **changes)
    made = Chats(settings(**changes)).corpus(splits, tokenizer, block_size, rows, 0, CPU)
    return made, tokenizer


def answers_of(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """The text of each row's targets."""
    return [
        tokenizer.decode([t for t in row if t != IGNORE_INDEX]) for row in batch.targets.tolist()
    ]


def write_chats(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
