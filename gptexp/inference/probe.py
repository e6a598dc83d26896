"""A look inside the model as it reads one text: where its heads attend, what it expects next."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gptexp.models.attention import Attention
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
def probe_model(network: nn.Module, tokenizer: Tokenizer, ids: Tensor, step: int) -> Probe:
    """Read the first LONGEST of `ids` [time], which fit the context, as `network` is at `step`.

    A network without attention gives no maps. Draws nothing and leaves the mode as it was.
    """
    ids = ids[:LONGEST]
    maps: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda part, given: maps.append(part.attention_weights(given[0]))
        )
        for module in network.modules()
        if isinstance(module, Attention)
    ]
    was_training = network.training
    network.eval()
    try:
        logits = network(ids[None])[0, -1].float().cpu()  # [vocab]
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return Probe(
        step=step,
        tokens=[visible(tokenizer, token) for token in ids.tolist()],
        attention=[weights[0].float().cpu().numpy() for weights in maps],
        vocabulary=[visible(tokenizer, token) for token in range(len(logits))],
        following={t: (logits / t).softmax(dim=-1).numpy() for t in TEMPERATURES},
    )


def visible(tokenizer: Tokenizer, token: int) -> str:
    """A token as a label: white space by signs of its own, what cannot be shown by its number."""
    text = tokenizer.decode([token])
    shown = "".join(VISIBLE.get(character, character) for character in text)
    return shown if shown.isprintable() and "\ufffd" not in shown else f"<{token}>"
