"""Folders of Hugging Face transformers, GPT-2 and Llama-shaped, made runs."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gptexp.config import GPTConfig
from gptexp.errors import CheckpointError, Problem
from gptexp.files import read_json
from gptexp.interchange import gpt2, llama
from gptexp.interchange.adopt import Foreign, adopt, described, settings
from gptexp.interchange.families import Family
from gptexp.interchange.layouts import Layout, to_state
from gptexp.interchange.parts import Parts, cut_rows
from gptexp.interchange.tensors import read_folder
from gptexp.interchange.vocabulary import read_vocabulary
from gptexp.runs.directory import OUTPUTS

CARD = "config.json"

KINDS: dict[str, tuple[str, Family, Layout]] = {  # by model_type: their class, and our tables
    "gpt2": ("GPT2LMHeadModel", gpt2.GPT2, gpt2.LAYOUT),
    "llama": ("LlamaForCausalLM", llama.LLAMA, llama.LAYOUT),
}

WHOLE = "a whole copy of the folder"


class _Kind(msgspec.Struct):
    model_type: str


def import_folder(folder: Path, overrides: Sequence[str], outputs: Path = OUTPUTS) -> Path:
    """Make a run directory of a folder that `save_pretrained` wrote; returns it.

    It is judged on the text that `overrides` choose, as data=text data.path=FILE; without one on
    none. Raises CheckpointError, ConfigError, DamagedError, DataError, InUseError, StorageError.
    """
    config = settings(folder, overrides)
    kind, model, rows = read_card(folder)
    vocabulary = read_vocabulary(folder, rows)
    parts = Parts(read_folder(folder), folder)
    weights = cut_rows(to_state(parts, KINDS[kind][2], model, rows), vocabulary.vocab_size)
    content = described("Hugging Face", weights, vocabulary)
    foreign = Foreign(folder, model, vocabulary, weights, content)
    return adopt(foreign, config, overrides, outputs)


def read_card(folder: Path) -> tuple[str, GPTConfig, int]:
    """What config.json says: its model_type, the model in our switches, rows of its token table.

    Raises CheckpointError for what has no place here.
    """
    path = folder / CARD
    card = read_json(path, _Kind, WHOLE)
    if card is None:
        fix = "name a folder that save_pretrained wrote"
        raise CheckpointError(Problem(folder, "holds no config.json", fix))
    if card.model_type not in KINDS:
        what = f"model_type is {card.model_type!r:.40}, none of {', '.join(KINDS)}"
        raise CheckpointError(Problem(path, what, "a model of one of these"))
    family = KINDS[card.model_type][1]
    config = read_json(path, family.struct, WHOLE)
    assert config is not None, "it was read above"
    problems = (Problem(path, what, "another model") for what in family.unknown(config))
    CheckpointError.raise_for(problems)
    return card.model_type, *family.model(config)
