"""Llama as Hugging Face has it: the keys of its config, and the names and order of its weights.

Hugging Face pairs the numbers i and i + width / 2 of a query or key for its rotation; this package,
as Meta's own files, the numbers 2i and 2i + 1.
"""

from collections.abc import Iterator
from typing import Any

from gptexp.config import Activation, Norm, Position
from gptexp.interchange.families import Family, Key, Positive, Size, Values
from gptexp.interchange.layouts import Layout

ACTIVATIONS = {"silu": Activation.swiglu, "swish": Activation.swiglu, "gelu": Activation.geglu}

FIXED = {  # of a Llama anywhere
    "norm": Norm.rmsnorm,
    "norm_gain": True,
    "embd_norm": False,
    "final_norm": True,
    "position": Position.rope,
}

FREE = frozenset({"norm_gain"})  # ones are written

SCALED = "angles here are not scaled"

BASE = 10_000.0  # of the angles, where nothing says it


def _unknown(values: Values) -> Iterator[str]:
    heads, width = values["num_attention_heads"], values["hidden_size"]
    if (
        values["head_dim"] is not None
        and width % heads == 0
        and values["head_dim"] != width // heads
    ):
        yield f"head_dim is {values['head_dim']}, and heads here are {width // heads} wide"
    if values["attention_bias"] != values["mlp_bias"]:
        yield "attention_bias is not mlp_bias, and here all layers have biases or none has"
    for name in ("rope_scaling", "rope_parameters"):  # both, since transformers 5
        scaling = values[name] or {}
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind != "default":
            yield f"{name} is of type {kind!r:.40}, and {SCALED}"
    base = _base(values)
    if isinstance(base, bool) or not isinstance(base, int | float) or not 0 < base < 1e12:
        yield f"rope_theta is {base!r:.40}, no base of angles"


def _base(values: Values) -> Any:
    base = BASE if values["rope_theta"] is None else values["rope_theta"]
    return (values["rope_parameters"] or {}).get("rope_theta", base)


def _angles(base: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": base}


def _settled(values: Values) -> dict[str, Any]:
    groups, heads = values["num_key_value_heads"], values["num_attention_heads"]
    return {"n_kv_head": None if groups == heads else groups, "rope_base": float(_base(values))}


LLAMA = Family(
    "Llama",
    "llama",
    keys=[  # what a config leaves out is as transformers takes it
        Key("vocab_size", "vocab_size", Size, 32000),
        Key("max_position_embeddings", "block_size", Size, 2048),
        Key("hidden_size", "n_embd", Size, 4096),
        Key("intermediate_size", "mlp_width", Size, 11008),
        Key("num_hidden_layers", "n_layer", Size, 32),
        Key("num_attention_heads", "n_head", Size, 32),
        Key("num_key_value_heads", "n_kv_head", Size | None, None),
        Key("head_dim", None, Size | None, None),
        Key("head_dim", "head_width"),
        Key("hidden_act", "activation", str, "silu", names=ACTIVATIONS),
        Key("rms_norm_eps", "norm_eps", Positive, 1e-6),
        Key("initializer_range", "init_std", Positive, 0.02),
        Key("tie_word_embeddings", "tie_head", bool, False),
        Key("attention_bias", "bias", bool, False),
        Key("mlp_bias", "bias", bool, False),
        Key("attention_dropout", "dropout"),
        Key("rope_theta", "rope_base", Positive | None, None),
        Key("rope_scaling", None, dict[str, Any] | None, None),
        Key("rope_parameters", None, dict[str, Any] | None, None),
        Key("rope_parameters", "rope_base", written=_angles),
    ],
    fixed=FIXED,
    free=FREE,
    more=_unknown,
    settled=_settled,
)

LAYOUT = Layout(
    outside={
        "token_table": "model.embed_tokens",
        "final_norm": "model.norm",
        "head": "lm_head",
    },
    inside={
        "attention_norm": ["input_layernorm"],
        "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "attention.proj": ["self_attn.o_proj"],
        "mlp_norm": ["post_attention_layernorm"],
        "mlp.up": ["mlp.gate_proj", "mlp.up_proj"],
        "mlp.proj": ["mlp.down_proj"],
    },
    layer="model.layers.",
    halves=["self_attn.q_proj", "self_attn.k_proj"],
    ignored=r".*\.rotary_emb\.inv_freq$",  # follows from the base
)
