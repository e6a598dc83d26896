"""The characters of a corpus, which are the vocabulary of a tokenizer of characters. Torch-free."""

from collections.abc import Iterable

from gptexp.config import DataConfig
from gptexp.data.conversations import read_conversations
from gptexp.data.parts import parts_of
from gptexp.data.read import BOUNDARY, corpus_digest, read_text, source

_CHARACTERS: dict[tuple[str, bool, bool], str] = {}  # by digest, and what kind of corpus it is


def characters(data: DataConfig, text: str) -> str:
    """The characters of the vocabulary, in the order of their ids: all that occur, by code point.

    Of documents, what stands around them is none, and the boundary is last, as microGPT's BOS. Of
    conversations, `text` is what their format makes of the file.
    """
    if not data.documents:
        return "".join(sorted(set(text)))
    return _bounded(set().union(*map(str.strip, text.split(BOUNDARY))))


def corpus_characters(data: DataConfig, sha256: str) -> str:
    """The `characters` of the corpus file of that digest, read once in a process.

    Raises DataError.
    """
    if data.parts:
        sections = parts_of(data).values()
        return of_all(data, (corpus_characters(part, corpus_digest(part)) for part in sections))
    if (key := (sha256, data.documents, data.chat)) not in _CHARACTERS:
        text = read_text(data, sha256)
        if data.chat:
            text = "".join(read_conversations(text, source(data)))
        _CHARACTERS[key] = characters(data, text)
    return _CHARACTERS[key]


def of_all(data: DataConfig, of_parts: Iterable[str]) -> str:
    """The `characters` of a mix, from those of its parts."""
    union = set().union(*of_parts)
    return "".join(sorted(union)) if not data.documents else _bounded(union - {BOUNDARY})


def _bounded(union: set[str]) -> str:
    return "".join(sorted(union)) + BOUNDARY
