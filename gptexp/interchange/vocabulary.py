"""The tokenizer of a Hugging Face folder in this package's terms, or its tokens by number."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from gptexp.errors import CheckpointError, DataError, Problem
from gptexp.files import MOST_JSON, read_json, read_regular
from gptexp.interchange.tensors import unreadable
from gptexp.tokenizers import merges
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.bpe import (
    END_OF_TEXT,
    BytePairTokenizer,
    byte_signs,
    cutter,
    imported,
)
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer, are_characters
from gptexp.tokenizers.ids import TokenIds

log = logging.getLogger(__name__)

GPT2_TOKENS = 50_257
MOST_PADDED = 50_304  # GPT-2's, filled up to a multiple of 128 rows

HEAD = "#version: 0.2"  # the first line of a file of merges


def read_vocabulary(folder: Path, rows: int) -> Tokenizer:
    """The tokenizer of a folder whose model has so many rows; says in a line which one it is.

    Without a file of tokens, GPT-2's where the rows are as many. Raises CheckpointError, DataError.
    """
    if (folder / "tokenizer.json").exists():
        tokenizer, why = _of_json(folder / "tokenizer.json"), "tokenizer.json is no byte-level BPE"
        why += " as tokenizer=bpe has it"
    elif (folder / "merges.txt").exists():
        tokenizer, why = _of_merges(folder / "merges.txt"), "merges.txt is no list of GPT-2's kind"
    else:
        return guessed(rows)
    if tokenizer is not None and tokenizer.vocab_size > rows:
        what = f"has {tokenizer.vocab_size:,} tokens, and the model {rows:,}"
        raise CheckpointError(Problem(folder, f"its tokenizer {what}", "a whole copy of it"))
    return by_number(rows, why) if tokenizer is None else announced(tokenizer, rows)


def guessed(rows: int, why: str = "no file tells what they are") -> Tokenizer:
    """GPT-2's tokenizer for as many rows as it has, or is filled up to; else tokens by number."""
    if not GPT2_TOKENS <= rows <= MOST_PADDED:
        return by_number(rows, why)
    try:
        return announced(BytePairTokenizer("gpt2", merges.published()), rows)
    except DataError as error:
        return by_number(rows, f"they may be GPT-2's, whose merges cannot be had ({error})")


def announced(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """The tokenizer, once a line says what it is."""
    more = rows - tokenizer.vocab_size
    cut = f"; {more:,} more rows of the table stand for none, and are left out" if more else ""
    log.info("tokens  %s%s", tokenizer.describe(), cut)
    return tokenizer


def by_number(rows: int, why: str) -> TokenIds:
    """Tokens by their numbers, once a line says why."""
    log.info("tokens  %s rows, by their numbers: %s", f"{rows:,}", why)
    return TokenIds(rows)


def _of_json(path: Path) -> Tokenizer | None:
    """The tokenizer of tokenizer.json, where it is one that stands here too."""
    stored = read_json(path, dict[str, Any], "a whole copy of the folder") or {}
    match stored:
        case {"normalizer": None, "model": {"vocab": dict(vocab), "merges": list(pairs)}} if (
            _is_byte_level(stored.get("pre_tokenizer"))
        ):
            return _of_bytes(vocab) if not pairs else _of_pairs(vocab, pairs)
        case {"normalizer": None, "model": {"type": "WordLevel", "vocab": dict(vocab)}}:
            return _of_characters(vocab)
    return None


def _is_byte_level(cutter: Any) -> bool:
    """Whether texts are cut into words as GPT-2 does."""
    match cutter:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return cutter.get("use_regex", True) is True
    return False


def _of_pairs(vocab: dict[str, Any], pairs: list[Any]) -> Tokenizer | None:
    words = [" ".join(pair) if _is_pair(pair) else pair for pair in pairs]
    if not all(isinstance(word, str) for word in words):
        return None
    tokenizer = _byte_pairs("\n".join(words))
    if tokenizer is None:
        return None
    theirs = dict(vocab)
    if tokenizer.name == "bpe" and theirs.get(END_OF_TEXT) == tokenizer.vocab_size:
        del theirs[END_OF_TEXT]
    return tokenizer if theirs == tokenizer.ids else None


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)


def _of_merges(path: Path) -> Tokenizer | None:
    """The tokenizer of merges.txt, whose first line tells the version."""
    try:
        text = read_regular(path, MOST_JSON).decode()
    except OSError as error:
        raise CheckpointError(unreadable(path, error)) from error
    except UnicodeDecodeError:
        return None
    first, _, lines = text.rstrip("\n").partition("\n")
    return _byte_pairs(lines if first.startswith("#version") else f"{first}\n{lines}")


def _byte_pairs(lines: str) -> BytePairTokenizer | None:
    """GPT-2's where the merges are its own, equal then to what `tokenizer=gpt2` builds."""
    published = f"{lines}\n"
    is_gpt2 = hashlib.sha256(f"{HEAD}\n{published}".encode()).hexdigest() == merges.GPT2.sha256
    try:
        return BytePairTokenizer("gpt2", published) if is_gpt2 else BytePairTokenizer("bpe", lines)
    except DataError as error:
        if error.problems[0].what.startswith("merge"):
            return None
        raise  # without the library


def _of_bytes(vocab: dict[str, Any]) -> Tokenizer | None:
    """Bytes without merges: in the order of GPT-2's signs, or of their values."""
    in_signs = BytePairTokenizer("bpe", "")
    if vocab == in_signs.ids:
        return in_signs
    return ByteTokenizer() if vocab == byte_signs() else None


def _of_characters(vocab: dict[str, Any]) -> Tokenizer | None:
    by_id = {number: token for token, number in vocab.items() if isinstance(number, int)}
    characters = [by_id.get(number, "") for number in range(len(vocab))]
    return CharTokenizer("".join(characters)) if are_characters(characters) else None


def render(tokenizer: Tokenizer) -> bytes | None:
    """The tokenizer.json of a tokenizer; None for one that Hugging Face tokenizers has not.

    Raises DataError without that library.
    """
    library = imported()
    match tokenizer:
        case BytePairTokenizer():
            pairs = [tuple(line.split(" ")) for line in tokenizer.merges.splitlines()]
            theirs = _with_bytes(library, library.models.BPE(tokenizer.ids, pairs))
            if END_OF_TEXT in tokenizer.ids:
                theirs.add_special_tokens([END_OF_TEXT])
        case ByteTokenizer():
            theirs = _with_bytes(library, library.models.BPE(byte_signs(), []))
        case CharTokenizer():
            ids = {character: number for number, character in enumerate(tokenizer.characters)}
            # There is no such token: a character that is not known is an error, as it is here.
            theirs = library.Tokenizer(library.models.WordLevel(ids, unk_token="<unknown>"))
            each = library.Regex(r"[\s\S]")
            theirs.pre_tokenizer = library.pre_tokenizers.Split(each, behavior="isolated")
            theirs.decoder = library.decoders.Fuse()
        case _:
            return None
    return f"{theirs.to_str(pretty=True)}\n".encode()


def _with_bytes(library: Any, model: Any) -> Any:
    theirs = library.Tokenizer(model)
    theirs.pre_tokenizer = cutter(library)
    theirs.decoder = library.decoders.ByteLevel()
    return theirs
