"""Llama-shaped models: what their config says, and the names and order of their weights.

Hugging Face pairs the numbers i and i + width / 2 of a query or key for its rotation; this package,
as Meta's own files, the numbers 2i and 2i + 1. The rows that make them are moved accordingly.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from gptexp.config import Activation, GPTConfig, Norm, Position
from gptexp.interchange.gpt2 import Positive, Size
from gptexp.interchange.parts import Parts, shapes

ACTIVATIONS = {"silu": Activation.swiglu, "swish": Activation.swiglu, "gelu": Activation.geglu}

OUTSIDE = {  # modules, by the names of models.gpt
    "token_table": "model.embed_tokens",
    "final_norm": "model.norm",
    "head": "lm_head",
}
INSIDE = {  # those of a block; several make one of ours, row below row
    "attention_norm": ["input_layernorm"],
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.proj": ["self_attn.o_proj"],
    "mlp_norm": ["post_attention_layernorm"],
    "mlp.up": ["mlp.gate_proj", "mlp.up_proj"],
    "mlp.proj": ["mlp.down_proj"],
}
TURNED = ("self_attn.q_proj", "self_attn.k_proj")  # by the position


class Card(msgspec.Struct, kw_only=True):
    """What config.json says of a Llama; what it leaves out is as transformers takes it."""

    vocab_size: Size = 32000
    max_position_embeddings: Size = 2048
    hidden_size: Size = 4096
    intermediate_size: Size = 11008
    num_hidden_layers: Size = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: str = "silu"
    rms_norm_eps: Positive = 1e-6
    initializer_range: Positive = 0.02
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_theta: Positive | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None  # both, since transformers 5

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    def unknown(self) -> Iterator[str]:
        """What a GPT here has no switch for."""
        heads, width = self.num_attention_heads, self.hidden_size
        if width % heads or width // heads % 2:
            yield f"num_attention_heads is {heads}, and no even part of hidden_size, {width}"
        elif self.head_dim not in (None, width // heads):
            yield f"head_dim is {self.head_dim}, and heads here are {width // heads} wide"
        if heads % self.kv_heads:
            yield f"num_key_value_heads is {self.kv_heads}, which does not divide {heads} heads"
        if self.hidden_act not in ACTIVATIONS:
            yield f"hidden_act is {self.hidden_act!r:.40}, none of {', '.join(ACTIVATIONS)}"
        if self.attention_bias != self.mlp_bias:
            yield "attention_bias is not mlp_bias, and here all layers have biases or none has"
        for name in ("rope_scaling", "rope_parameters"):
            kind = self._of_rope(name, "rope_type", self._of_rope(name, "type", "default"))
            if kind != "default":
                yield f"{name} is of type {kind!r:.40}, and angles here are not scaled"
        if not isinstance(self._theta, int | float) or not 0 < self._theta < 1e12:
            yield f"rope_theta is {self._theta!r:.40}, no base of angles"

    @property
    def _theta(self) -> Any:
        given = 10_000.0 if self.rope_theta is None else self.rope_theta
        return self._of_rope("rope_parameters", "rope_theta", given)

    def _of_rope(self, name: str, key: str, otherwise: Any) -> Any:
        return (getattr(self, name) or {}).get(key, otherwise)

    def model(self) -> GPTConfig:
        """The same in this package's switches."""
        heads = self.num_attention_heads
        return GPTConfig(
            name="llama",
            block_size=self.max_position_embeddings,
            n_layer=self.num_hidden_layers,
            n_head=heads,
            n_embd=self.hidden_size,
            dropout=0.0,
            bias=self.attention_bias,
            init_std=self.initializer_range,
            norm=Norm.rmsnorm,
            norm_gain=True,
            embd_norm=False,
            final_norm=True,
            activation=ACTIVATIONS[self.hidden_act],
            position=Position.rope,
            tie_head=self.tie_word_embeddings,
            n_kv_head=None if self.kv_heads == heads else self.kv_heads,
            mlp_width=self.intermediate_size,
            rope_base=float(self._theta),
            norm_eps=self.rms_norm_eps,
        )


def their_names(name: str) -> list[str]:
    """The parameters that make one of ours, from the first rows to the last."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("blocks."):
        return [f"{OUTSIDE[module]}.{kind}"]
    _, layer, inner = module.split(".", 2)
    return [f"model.layers.{layer}.{part}.{kind}" for part in INSIDE[inner]]


def heights(name: str, rows: int, model: GPTConfig) -> list[int]:
    """How many rows each of these has."""
    if "qkv" in name:
        width = model.kv_heads * model.head_width
        return [model.n_embd, width, width]
    return [rows // 2, rows // 2] if "up" in name else [rows]


def to_state(parts: Parts, model: GPTConfig, vocab_size: int) -> dict[str, Tensor]:
    """The weights by our names; raises CheckpointError for others than the config has."""
    parts.check_layers(r"model\.layers\.(\d+)\.", model.n_layer)
    parts.leave(r".*\.rotary_emb\.inv_freq$")  # follows from the base
    if model.tie_head:
        parts.leave(r"lm_head\.weight$")
    state = {}
    for name, shape in shapes(model, vocab_size).items():
        if name == "head.weight" and model.tie_head:
            continue
        theirs = their_names(name)
        taken = [
            in_pairs(parts.take(one, [rows, *shape[1:]]), one, model)
            for one, rows in zip(theirs, heights(name, shape[0], model), strict=True)
        ]
        state[name] = torch.cat(taken) if len(taken) > 1 else taken[0]
    parts.finish()
    if model.tie_head:
        state["head.weight"] = state["token_table.weight"]
    return state


def from_state(state: dict[str, Tensor], model: GPTConfig, vocab_size: int) -> dict[str, Tensor]:
    """The inverse of to_state; gains that our norms do not have are ones."""
    tensors = {}
    for name, shape in shapes(replace(model, norm_gain=True), vocab_size).items():
        if name == "head.weight" and model.tie_head:
            continue
        weight = state[name].float() if name in state else torch.ones(shape)
        cut = weight.split(heights(name, shape[0], model))
        for their, part in zip(their_names(name), cut, strict=True):
            tensors[their] = in_halves(part, their, model).contiguous()
    return tensors


def in_pairs(weight: Tensor, name: str, model: GPTConfig) -> Tensor:
    """The rows [rows, ...] of a query's or key's matrix or bias, from halves to pairs."""
    return _moved(weight, name, model, halves=True)


def in_halves(weight: Tensor, name: str, model: GPTConfig) -> Tensor:
    """The inverse of in_pairs."""
    return _moved(weight, name, model, halves=False)


def _moved(weight: Tensor, name: str, model: GPTConfig, halves: bool) -> Tensor:
    if not any(turned in name for turned in TURNED):
        return weight
    half = model.head_width // 2
    shape = (-1, 2, half) if halves else (-1, half, 2)  # [heads, ...]
    return weight.unflatten(0, shape).transpose(1, 2).flatten(0, 2)


def card(model: GPTConfig, vocab_size: int) -> dict[str, Any]:
    """What config.json says of our model."""
    names = {activation: name for name, activation in reversed(ACTIVATIONS.items())}
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": vocab_size,
        "max_position_embeddings": model.block_size,
        "hidden_size": model.n_embd,
        "intermediate_size": model.hidden,
        "num_hidden_layers": model.n_layer,
        "num_attention_heads": model.n_head,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_width,
        "hidden_act": names[model.activation],
        "rms_norm_eps": model.norm_eps,
        "initializer_range": model.init_std,
        "tie_word_embeddings": model.tie_head,
        "attention_bias": model.bias,
        "mlp_bias": model.bias,
        "attention_dropout": model.dropout,
        "rope_theta": model.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_base},
    }
