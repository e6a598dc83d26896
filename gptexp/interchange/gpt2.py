"""GPT-2 as Hugging Face and nanoGPT have it: what its config says, and the names of its weights."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from gptexp.config import Activation, GPTConfig, Norm, Position
from gptexp.interchange.parts import Parts, shapes

Size = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]

ACTIVATIONS = {  # by Hugging Face's names; the first of each is the one that is written
    "gelu_new": Activation.gelu_tanh,
    "gelu_pytorch_tanh": Activation.gelu_tanh,
    "gelu": Activation.gelu,
    "relu": Activation.relu,
    "relu2": Activation.relu2,
    "silu": Activation.silu,
    "swish": Activation.silu,
}

OUTSIDE = {  # modules, by the names of models.gpt
    "token_table": "wte",
    "position_table": "wpe",
    "final_norm": "ln_f",
    "head": "lm_head",
}
INSIDE = {  # those of a block
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.proj": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.proj": "mlp.c_proj",
}

PREFIX = "transformer."


class Card(msgspec.Struct, kw_only=True):
    """What config.json says of a GPT-2; what it leaves out is as transformers takes it."""

    vocab_size: Size = 50257
    n_positions: Size = 1024
    n_embd: Size = 768
    n_layer: Size = 12
    n_head: Size = 12
    n_inner: Size | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: Positive = 1e-5
    initializer_range: Positive = 0.02
    tie_word_embeddings: bool = True
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False

    def unknown(self) -> Iterator[str]:
        """What a GPT here has no switch for."""
        if self.n_embd % self.n_head:
            yield f"n_head is {self.n_head}, which does not divide n_embd, {self.n_embd}"
        if self.activation_function not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            yield f"activation_function is {self.activation_function!r:.40}, none of {known}"
        if not self.scale_attn_weights:
            yield "scale_attn_weights is false, and attention here is always scaled"
        if self.scale_attn_by_inverse_layer_idx:
            yield "scale_attn_by_inverse_layer_idx is true, and layers here are scaled alike"
        if self.add_cross_attention:
            yield "add_cross_attention is true, and there is no other text to attend to here"

    def model(self) -> GPTConfig:
        """The same in this package's switches."""
        return GPTConfig(
            name="gpt2",
            block_size=self.n_positions,
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_embd=self.n_embd,
            dropout=0.0,
            bias=True,
            init_std=self.initializer_range,
            norm=Norm.layernorm,
            norm_gain=True,
            embd_norm=False,
            final_norm=True,
            activation=ACTIVATIONS[self.activation_function],
            position=Position.learned,
            tie_head=self.tie_word_embeddings,
            mlp_width=None if self.n_inner in (None, 4 * self.n_embd) else self.n_inner,
            norm_eps=self.layer_norm_epsilon,
        )


def their_name(name: str) -> str:
    """The name of one of our parameters in GPT-2, without the prefix of all but the head."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("blocks."):
        return f"{OUTSIDE[module]}.{kind}"
    _, layer, inner = module.split(".", 2)
    return f"h.{layer}.{INSIDE[inner]}.{kind}"


def is_turned(name: str) -> bool:
    """Whether a parameter of ours is one of the four matrices that Hugging Face has transposed."""
    return name.startswith("blocks.") and name.endswith(("qkv.weight", "proj.weight", "up.weight"))


def to_state(
    parts: Parts, model: GPTConfig, vocab_size: int, turned: bool = True
) -> dict[str, Tensor]:
    """The weights by our names; `turned` says that four matrices a layer are transposed.

    Raises CheckpointError for others than the config has.
    """
    parts.tensors = {name.removeprefix(PREFIX): t for name, t in parts.tensors.items()}
    parts.check_layers(r"h\.(\d+)\.", model.n_layer)
    parts.leave(r"h\.\d+\.attn\.(bias|masked_bias)$")  # the mask of the causal kernel
    if model.tie_head:
        parts.leave(r"lm_head\.weight$")
    state = {}
    for name, shape in shapes(model, vocab_size).items():
        if name == "head.weight" and model.tie_head:
            continue
        transposed = turned and is_turned(name)
        taken = parts.take(their_name(name), shape[::-1] if transposed else shape)
        state[name] = taken.T.contiguous() if transposed else taken
    parts.finish()
    if model.tie_head:
        state["head.weight"] = state["token_table.weight"]
    return state


def from_state(
    state: dict[str, Tensor], model: GPTConfig, vocab_size: int, nanogpt: bool = False
) -> dict[str, Tensor]:
    """The inverse of to_state, with the prefix; biases that we do not have are zeros, gains ones.

    nanoGPT transposes nothing, may lack biases, and has a tied head beside the table too.
    """
    full = replace(model, norm_gain=True, bias=model.bias or not nanogpt)
    tensors = {}
    for name, shape in shapes(full, vocab_size).items():
        if name == "head.weight" and model.tie_head and not nanogpt:
            continue
        plain = torch.zeros if name.endswith("bias") else torch.ones
        weight = state[name].float() if name in state else plain(shape)
        prefix = "" if name == "head.weight" else PREFIX
        turned = is_turned(name) and not nanogpt
        tensors[prefix + their_name(name)] = (weight.T if turned else weight).contiguous()
    return tensors


def card(model: GPTConfig, vocab_size: int) -> dict[str, Any]:
    """What config.json says of our model."""
    names = {activation: name for name, activation in reversed(ACTIVATIONS.items())}
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), model.dropout)
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": vocab_size,
        "n_positions": model.block_size,
        "n_embd": model.n_embd,
        "n_layer": model.n_layer,
        "n_head": model.n_head,
        "n_inner": model.hidden,
        "activation_function": names[model.activation],
        "layer_norm_epsilon": model.norm_eps,
        "initializer_range": model.init_std,
        "tie_word_embeddings": model.tie_head,
        **dropouts,
    }
