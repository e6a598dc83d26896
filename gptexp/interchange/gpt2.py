"""GPT-2 as Hugging Face has it: the keys of its config, and the names of its weights."""

from typing import Any

from gptexp.config import Activation, Norm, Position
from gptexp.interchange.families import Family, Key, Positive, Size, Values
from gptexp.interchange.layouts import Layout

ACTIVATIONS = {  # by Hugging Face's names; the first of each is the one that is written
    "gelu_new": Activation.gelu_tanh,
    "gelu_pytorch_tanh": Activation.gelu_tanh,
    "gelu": Activation.gelu,
    "relu": Activation.relu,
    "relu2": Activation.relu2,
    "silu": Activation.silu,
    "swish": Activation.silu,
}

FIXED = {  # of a GPT-2 anywhere
    "norm": Norm.layernorm,
    "norm_gain": True,
    "embd_norm": False,
    "final_norm": True,
    "position": Position.learned,
}

FREE = frozenset({"norm_gain", "rope_base"})  # ones are written; nothing is turned


def _settled(values: Values) -> dict[str, Any]:
    width = values["n_inner"]
    return {"mlp_width": None if width == 4 * values["n_embd"] else width}


GPT2 = Family(
    "GPT-2",
    "gpt2",
    keys=[  # what a config leaves out is as transformers takes it
        Key("vocab_size", "vocab_size", Size, 50257),
        Key("n_positions", "block_size", Size, 1024),
        Key("n_embd", "n_embd", Size, 768),
        Key("n_layer", "n_layer", Size, 12),
        Key("n_head", "n_head", Size, 12),
        Key("n_inner", "mlp_width", Size | None, None),
        Key("activation_function", "activation", str, "gelu_new", names=ACTIVATIONS),
        Key("layer_norm_epsilon", "norm_eps", Positive, 1e-5),
        Key("initializer_range", "init_std", Positive, 0.02),
        Key("tie_word_embeddings", "tie_head", bool, True),
        Key("scale_attn_weights", None, bool, True, only="attention here is always scaled"),
        Key("scale_attn_by_inverse_layer_idx", None, bool, False, only="layers here are alike"),
        Key("add_cross_attention", None, bool, False, only="there is no other text here"),
        *(Key(theirs, "dropout") for theirs in ("resid_pdrop", "embd_pdrop", "attn_pdrop")),
    ],
    fixed={**FIXED, "bias": True},
    free=FREE | {"bias"},
    settled=_settled,
)

LAYOUT = Layout(
    outside={
        "token_table": "transformer.wte",
        "position_table": "transformer.wpe",
        "final_norm": "transformer.ln_f",
        "head": "lm_head",
    },
    inside={
        "attention_norm": ["ln_1"],
        "attention.qkv": ["attn.c_attn"],
        "attention.proj": ["attn.c_proj"],
        "mlp_norm": ["ln_2"],
        "mlp.up": ["mlp.c_fc"],
        "mlp.proj": ["mlp.c_proj"],
    },
    layer="transformer.h.",
    prefix="transformer.",
    transposed=True,
    biases=True,
    ignored=r"h\.\d+\.attn\.(bias|masked_bias)$",  # the mask of the causal kernel
)
