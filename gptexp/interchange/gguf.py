"""A model as a GGUF file, which llama.cpp runs: its keys, and its names of weights and tokens."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gptexp.config import Activation, GPTConfig, Position
from gptexp.interchange import gpt2, llama
from gptexp.interchange.families import Family, Key
from gptexp.interchange.layouts import Layout, from_state
from gptexp.interchange.tensors import imported
from gptexp.tokenizers.bpe import END_OF_TEXT, BytePairTokenizer, byte_signs

# llama.cpp ends at token 11, a comma, where a file names no other. No text has a byte of 0xFF.
NO_END = 0xFF

NORMAL, CONTROL = 1, 3  # kinds of token

KEYS = [  # of both kinds of model, behind the kind's own name
    Key("context_length", "block_size"),
    Key("embedding_length", "n_embd"),
    Key("block_count", "n_layer"),
    Key("feed_forward_length", "mlp_width"),
    Key("attention.head_count", "n_head"),
    Key("vocab_size", "vocab_size"),
]

GPT2 = Family(
    "GGUF's GPT-2",
    "gpt2",
    keys=[*KEYS, Key("attention.layer_norm_epsilon", "norm_eps")],
    fixed={**gpt2.FIXED, "bias": True, "activation": Activation.gelu_tanh},
    free=gpt2.FREE | {"bias", "tie_head"},  # biases are written; a tied head is left out
)

LLAMA = Family(
    "GGUF's Llama",
    "llama",
    keys=[
        *KEYS,
        Key("attention.head_count_kv", "n_kv_head"),
        Key("attention.layer_norm_rms_epsilon", "norm_eps"),
        Key("rope.dimension_count", "head_width"),
        Key("rope.freq_base", "rope_base"),
    ],
    fixed={**llama.FIXED, "bias": False, "activation": Activation.swiglu},
    free=llama.FREE | {"tie_head"},
)

OUTSIDE = {"token_table": "token_embd", "final_norm": "output_norm", "head": "output"}

INSIDE = {
    "attention_norm": ["attn_norm"],
    "attention.proj": ["attn_output"],
    "mlp_norm": ["ffn_norm"],
    "mlp.proj": ["ffn_down"],
}

# Nothing is transposed, and rows of queries and keys are in pairs: both are as they are here.
OF_GPT2 = Layout(
    outside={**OUTSIDE, "position_table": "position_embd"},
    inside={**INSIDE, "attention.qkv": ["attn_qkv"], "mlp.up": ["ffn_up"]},
    layer="blk.",
    biases=True,
)

OF_LLAMA = Layout(
    outside=OUTSIDE,
    inside={
        **INSIDE,
        "attention.qkv": ["attn_q", "attn_k", "attn_v"],
        "mlp.up": ["ffn_gate", "ffn_up"],
    },
    layer="blk.",
)


def family(model: GPTConfig) -> Family:
    """The kind of model that one of ours could be."""
    return LLAMA if model.position is Position.rope else GPT2


def render(
    name: str,
    model: GPTConfig,
    weights: Mapping[str, Tensor],
    tokenizer: BytePairTokenizer,
    end: int | None,
) -> bytes:
    """The content of a file of that name, in float32; `end` is the token that ends a sample.

    Raises ConfigError without the library.
    """
    library, kind = imported("gguf", "gguf"), family(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"  # the library writes to a name alone
        writer = library.GGUFWriter(path, kind.label)
        writer.add_name(name)
        writer.add_file_type(library.LlamaFileType.ALL_F32)
        for key, value in kind.write(model, tokenizer.vocab_size).items():
            add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
            add(f"{kind.label}.{key}", value)
        _add_tokens(writer, tokenizer, end)
        layout = OF_LLAMA if kind is LLAMA else OF_GPT2
        for their, tensor in from_state(weights, layout, model, tokenizer.vocab_size).items():
            writer.add_tensor(their, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _add_tokens(writer: Any, tokenizer: BytePairTokenizer, end: int | None) -> None:
    """The tokens, which are cut out of a text as GPT-2 does."""
    last = tokenizer.ids.get(END_OF_TEXT) if tokenizer.name == "gpt2" else None
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokenizer.ids])
    writer.add_token_types([CONTROL if i == last else NORMAL for i in tokenizer.ids.values()])
    writer.add_token_merges(tokenizer.merges.splitlines())
    ends = [token for token in (end, last) if token is not None]
    never = [*byte_signs().values()].index(NO_END)
    writer.add_eos_token_id([*ends, never][0])
    writer.add_bos_token_id([*ends, never][0])
    writer.add_add_bos_token(end is not None)
