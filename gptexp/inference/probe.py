"""A look inside the model as it reads one text: where its heads attend, what it expects next."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp.models.attention import Attention
from gptexp.models.base import Model
from gptexp.models.hooks import in_eval_mode, record_activations
from gptexp.tokenizers.base import Tokenizer

TEMPERATURES = (0.5, 1.0, 2.0)

LONGEST = 32  # tokens that a picture has room for

VISIBLE = {"\n": "↵", " ": "␣", "\t": "⇥"}


@dataclass(frozen=True)
class Probe:
    """The attention and the expectation of a model over one text, for pictures."""

    step: int
    tokens: list[str]  # what was read, each token made visible; T of them
    attention: list[NDArray[np.float32]]  # per layer [n_head, T, T]; rows attend to columns
    vocabulary: list[str]  # each token made visible; V of them
    following: dict[float, NDArray[np.float32]]  # by temperature: probability of the next token [V]


@torch.no_grad()
def probe_model(model: Model, tokenizer: Tokenizer, ids: Tensor, step: int) -> Probe:
    """Read the first LONGEST of `ids` [time], which fit the context, as `model` is at `step`.

    A model without attention gives no maps. Draws nothing and leaves the mode as it was.
    """
    ids = ids[:LONGEST]
    with in_eval_mode(model):
        logits, inputs, _ = record_activations(model, ids)
    maps = [  # each [n_head, T, T]
        module.attention_weights(inputs[name][None], model.documents(ids[None]))[0]
        for name, module in model.named_modules()
        if isinstance(module, Attention) and name in inputs
    ]
    logits = logits[-1].float().cpu()  # [vocab]
    return Probe(
        step=step,
        tokens=[visible(tokenizer, token) for token in ids.tolist()],
        attention=[weights.float().cpu().numpy() for weights in maps],
        vocabulary=[visible(tokenizer, token) for token in range(len(logits))],
        following={t: (logits / t).softmax(dim=-1).numpy() for t in TEMPERATURES},
    )


def visible(tokenizer: Tokenizer, token: int) -> str:
    """A token as a label: white space by signs of its own, what cannot be shown by its number."""
    text = tokenizer.decode([token])
    shown = "".join(VISIBLE.get(character, character) for character in text)
    return shown if shown.isprintable() and "\ufffd" not in shown else f"<{token}>"
