"""Folders of Hugging Face transformers, GPT-2 and Llama-shaped, made runs."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gptexp.errors import CheckpointError, Problem
from gptexp.files import read_json
from gptexp.interchange import gpt2, llama
from gptexp.interchange.adopt import Foreign, adopt, described, settings
from gptexp.interchange.parts import Parts, cut_rows
from gptexp.interchange.tensors import read_folder
from gptexp.interchange.vocabulary import read_vocabulary
from gptexp.runs.directory import OUTPUTS

CARD = "config.json"

CARDS: dict[str, type[gpt2.Card] | type[llama.Card]] = {"gpt2": gpt2.Card, "llama": llama.Card}

WHOLE = "a whole copy of the folder"


class _Kind(msgspec.Struct):
    model_type: str


def import_folder(folder: Path, overrides: Sequence[str], outputs: Path = OUTPUTS) -> Path:
    """Make a run directory of a folder that `save_pretrained` wrote; returns it.

    It is judged on the text that `overrides` choose, as data=text data.path=FILE; without one on
    none. Raises CheckpointError, ConfigError, DamagedError, DataError, InUseError, StorageError.
    """
    config = settings(folder, overrides)
    card = read_card(folder)
    vocabulary = read_vocabulary(folder, card.vocab_size)
    parts, model = Parts(read_folder(folder), folder), card.model()
    to_state = gpt2.to_state if isinstance(card, gpt2.Card) else llama.to_state
    weights = cut_rows(to_state(parts, model, card.vocab_size), vocabulary.vocab_size)
    content = described("Hugging Face", weights, vocabulary)
    foreign = Foreign(folder, model, vocabulary, weights, content)
    return adopt(foreign, config, overrides, outputs)


def read_card(folder: Path) -> gpt2.Card | llama.Card:
    """What config.json says of the model; raises CheckpointError for what has no place here."""
    path = folder / CARD
    kind = read_json(path, _Kind, WHOLE)
    if kind is None:
        fix = "name a folder that save_pretrained wrote"
        raise CheckpointError(Problem(folder, "holds no config.json", fix))
    if kind.model_type not in CARDS:
        what = f"model_type is {kind.model_type!r:.40}, none of {', '.join(CARDS)}"
        raise CheckpointError(Problem(path, what, "a model of one of these"))
    card = read_json(path, CARDS[kind.model_type], WHOLE)
    assert card is not None, "it was read above"
    CheckpointError.raise_for(Problem(path, what, "another model") for what in card.unknown())
    return card
