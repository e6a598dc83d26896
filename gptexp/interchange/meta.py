"""nanoGPT's meta.pkl, which tells the characters: a pickle, of which nothing but a dict is read."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from gptexp.errors import CheckpointError, Problem
from gptexp.files import read_regular
from gptexp.interchange.tensors import unreadable
from gptexp.tokenizers.char import CharTokenizer, are_characters

MOST_BYTES = 2**26  # a million characters take a third of it

# The opcodes of dicts, texts and whole numbers. None of them names a class or calls anything.
PLAIN = {
    *("PROTO", "FRAME", "MARK", "STOP", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BININT", "BININT1", "BININT2"),
    *("MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}


def read_meta(path: Path) -> CharTokenizer:
    """The characters of nanoGPT's meta.pkl, by id; raises CheckpointError for any other file."""
    try:
        data = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise CheckpointError(unreadable(path, error)) from error
    match _plain(path, data):
        case {"itos": dict(by_id)}:
            tokens: list[Any] = [by_id.get(number) for number in range(len(by_id))]
            if are_characters(tokens):
                return CharTokenizer("".join(tokens))
    what = "holds no itos, a dict from 0, 1, ... to a character each"
    raise CheckpointError(Problem(path, what, "--text FILE, the text that it was made of"))


def write_meta(tokenizer: CharTokenizer) -> bytes:
    """The content of a meta.pkl with these characters, as nanoGPT's prepare.py writes it."""
    itos = dict(enumerate(tokenizer.characters))
    stoi = {character: number for number, character in itos.items()}
    return pickle.dumps({"vocab_size": tokenizer.vocab_size, "itos": itos, "stoi": stoi})


def _plain(path: Path, data: bytes) -> Any:
    """The value of a pickle of PLAIN opcodes; raises CheckpointError for any other."""
    fix = "--text FILE, the text that it was made of"
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in PLAIN:
                what = f"not plain: it holds {opcode.name}; nothing in it was run"
                raise CheckpointError(Problem(path, what, fix))
            # The place of a value that is used again: room is made for all places below it.
            if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data):
                raise ValueError("a place beyond its end")
        return _Unpickler(io.BytesIO(data)).load()
    except CheckpointError:
        raise
    except Exception as error:  # bytes that are no pickle make its reader raise almost anything
        what = f"damaged: {error!s:.80}"
        raise CheckpointError(Problem(path, what, fix)) from error


class _Unpickler(pickle.Unpickler):
    """Knows no class at all."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}"[:80])
