"""Which of our models another program has too, switch by switch."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

from gptexp.config import Activation, GPTConfig, Norm, Position
from gptexp.interchange import gpt2, llama

NONE_OF_OURS: dict[str, Any] = {  # switches that none of them has
    "embd_norm": False,
    "final_norm": True,
    "window": [],
    "qk_norm": False,
    "head_gate": False,
    "value_residual": False,
    "logit_softcap": None,
}


def gpt2_defects(model: GPTConfig) -> Iterator[str]:
    """What keeps a model from being a GPT-2 of transformers; it may lack biases and gains."""
    wanted = {**NONE_OF_OURS, "norm": Norm.layernorm, "position": Position.learned}
    yield from _others(model, wanted)
    yield from _of_heads(model)
    yield from _of_activation(model, set(gpt2.ACTIVATIONS.values()))


def llama_defects(model: GPTConfig) -> Iterator[str]:
    """What keeps a model from being a Llama of transformers."""
    wanted = {**NONE_OF_OURS, "norm": Norm.rmsnorm, "position": Position.rope}
    yield from _others(model, wanted)
    yield from _of_activation(model, set(llama.ACTIVATIONS.values()))


def nanogpt_defects(model: GPTConfig) -> Iterator[str]:
    """What keeps a model from being one of nanoGPT's."""
    wanted = {**NONE_OF_OURS, "norm": Norm.layernorm, "position": Position.learned}
    yield from _others(model, {**wanted, "tie_head": True, "norm_eps": 1e-5})
    yield from _of_heads(model)
    yield from _of_activation(model, {Activation.gelu})
    if model.hidden != 4 * model.n_embd:
        yield f"model.mlp_width is {model.hidden}, not 4 n_embd"


def _others(model: GPTConfig, wanted: dict[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if (own := getattr(model, key)) != value:
            yield f"model.{key} is {_typed(own)}, not {_typed(value)}"


def _of_heads(model: GPTConfig) -> Iterator[str]:
    if model.kv_heads != model.n_head:
        yield f"model.n_kv_head is {model.kv_heads}, not as many as model.n_head, {model.n_head}"


def _of_activation(model: GPTConfig, known: set[Activation]) -> Iterator[str]:
    if model.activation not in known:
        names = ", ".join(sorted(activation.value for activation in known))
        yield f"model.activation is {model.activation.value}, none of {names}"


def _typed(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, Enum):
        value = value.value
    words = {None: "null", True: "true", False: "false"}
    return words.get(value, str(value)) if not isinstance(value, list) else str(value)
