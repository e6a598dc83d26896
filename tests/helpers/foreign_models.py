"""Small models as other programs write them, and their logits by plain formulas."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from gptexp.experiment.run import run_experiment

WORDS = ["logger=none", "trainer.device=cpu", "trainer.threads=1", "trainer.sample_tokens=4"]

CARD = {
    "model_type": "gpt2",
    "vocab_size": 40,
    "n_positions": 12,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "layer_norm_epsilon": 1e-4,
}


def drawn(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, Tensor]:
    """Tensors of these shapes, large enough that every part of a model tells in its logits."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def gpt2_tensors(card: dict[str, Any] = CARD, seed: int = 0) -> dict[str, Tensor]:
    """A GPT-2's weights by the names of its first release, without a prefix."""
    n = card["n_embd"]
    shapes: dict[str, list[int]] = {
        "wte.weight": [card["vocab_size"], n],
        "wpe.weight": [card["n_positions"], n],
        "ln_f.weight": [n],
        "ln_f.bias": [n],
    }
    for i in range(card["n_layer"]):
        for name, rows, columns in (
            ("attn.c_attn", n, 3 * n),
            ("attn.c_proj", n, n),
            ("mlp.c_fc", n, 4 * n),
            ("mlp.c_proj", 4 * n, n),
        ):
            shapes[f"h.{i}.{name}.weight"] = [rows, columns]
            shapes[f"h.{i}.{name}.bias"] = [columns]
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{i}.{name}.{kind}": [n] for kind in ("weight", "bias")}
    return drawn(shapes, seed)


def gpt2_folder(folder: Path, tensors: dict[str, Tensor] | None = None, **card: Any) -> Path:
    """A folder of such a model, as `save_pretrained` lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CARD, **card}))
    save_file(gpt2_tensors() if tensors is None else tensors, folder / "model.safetensors")
    return folder


def gpt2_logits(w: dict[str, Tensor], ids: Tensor, heads: int = 2, eps: float = 1e-4) -> Tensor:
    """What a GPT-2 with these weights predicts after each of `ids` [time], [time, vocab]."""
    time = len(ids)
    x = w["wte.weight"][ids] + w["wpe.weight"][:time]
    width = x.shape[1]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

    def line(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    future = torch.ones(time, time, dtype=torch.bool).triu(1)
    layers = {name.split(".")[1] for name in w if name.startswith("h.")}
    for i in range(len(layers)):
        parts = line(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").split(width, dim=1)
        q, k, v = (part.view(time, heads, -1).transpose(0, 1) for part in parts)
        scores = (q @ k.transpose(1, 2) / math.sqrt(width // heads)).masked_fill(future, -math.inf)
        y = (scores.softmax(-1) @ v).transpose(0, 1).reshape(time, width)
        x = x + line(y, f"h.{i}.attn.c_proj")
        hidden = F.gelu(line(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
        x = x + line(hidden, f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ w.get("lm_head.weight", w["wte.weight"]).T


def nanogpt_state(bias: bool = True, rows: int = 40, prefix: str = "") -> dict[str, Tensor]:
    """The same GPT-2 as nanoGPT has it: nothing transposed, the head beside the table it is."""
    tensors = gpt2_tensors({**CARD, "vocab_size": rows})
    matrices = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    state = {
        f"{prefix}transformer.{name}": tensor.T.contiguous() if name.endswith(matrices) else tensor
        for name, tensor in tensors.items()
        if bias or not name.endswith("bias")
    }
    return {**state, f"{prefix}lm_head.weight": tensors["wte.weight"]}


def nanogpt_file(path: Path, bias: bool = True, rows: int = 40, prefix: str = "") -> Path:
    """A ckpt.pt as nanoGPT's train.py saves it."""
    arguments = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 12}
    saved = {
        "model": nanogpt_state(bias, rows, prefix),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95)}]},
        "model_args": {**arguments, "bias": bias, "vocab_size": rows, "dropout": 0.0},
        "iter_num": 30,
        "best_val_loss": torch.tensor(2.5),
        "config": {"dataset": "letters", "batch_size": 4, "gradient_accumulation_steps": 2},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(saved, path)
    return path


LLAMA = {
    "model_type": "llama",
    "vocab_size": 40,
    "max_position_embeddings": 12,
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def llama_tensors() -> dict[str, Tensor]:
    """A small Llama's weights by Hugging Face's names."""
    shapes = {"model.embed_tokens.weight": [40, 8], "model.norm.weight": [8]}
    shapes["lm_head.weight"] = [40, 8]
    for i in range(2):
        inner = {
            "self_attn.q_proj": [8, 8],
            "self_attn.k_proj": [4, 8],
            "self_attn.v_proj": [4, 8],
            "self_attn.o_proj": [8, 8],
            "mlp.gate_proj": [20, 8],
            "mlp.up_proj": [20, 8],
            "mlp.down_proj": [8, 20],
            "input_layernorm": [8],
            "post_attention_layernorm": [8],
        }
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in inner.items()}
    return drawn(shapes)


def llama_folder(folder: Path, **card: Any) -> Path:
    """A folder of a small Llama, as `save_pretrained` lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **card}))
    save_file(llama_tensors(), folder / "model.safetensors")
    return folder


PARAMS = {  # of the same Llama: 8/3 of 8 is 21, three quarters of it 15, and the next multiple 20
    "dim": 8,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 1,
    "vocab_size": 40,
    "multiple_of": 5,
    "ffn_dim_multiplier": 0.8,
    "norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_seq_len": 12,
}

METAS = {  # Meta's names, by Hugging Face's
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def meta_tensors(tensors: dict[str, Tensor], head_width: int = 4) -> dict[str, Tensor]:
    """The weights of a Llama by Meta's names, from Hugging Face's.

    Of a query or key, Meta has the numbers 2i and 2i + 1 turned together, and Hugging Face, whose
    conversion moves the rows, i and i + width / 2.
    """
    made = {}
    for name, tensor in tensors.items():
        if "q_proj" in name or "k_proj" in name:
            halves = tensor.view(-1, 2, head_width // 2, tensor.shape[1])
            tensor = halves.transpose(1, 2).reshape(tensor.shape)
        layer, found = "", name.removesuffix(".weight")
        if match := re.match(r"model\.layers\.(\d+)\.(.*)", found):
            layer, found = f"layers.{match[1]}.", match[2]
        made[f"{layer}{METAS[found]}.weight"] = tensor
    return made


def meta_folder(folder: Path, tensors: dict[str, Tensor] | None = None, **params: Any) -> Path:
    """A folder of the same Llama, as Meta lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps({**PARAMS, **params}))
    made = meta_tensors(llama_tensors()) if tensors is None else tensors
    torch.save(made, folder / "consolidated.00.pth")
    return folder


TEXT = "To be, or not to be: that is the question.\n" * 30
MODELS = {
    "gpt2": ["model.activation=gelu_tanh", "model.norm_eps=1e-3"],
    "plain": ["model.bias=false", "model.norm_gain=false", "model.tie_head=false"],
    "llama": [
        *("model.position=rope", "model.norm=rmsnorm", "model.activation=swiglu"),
        *("model.n_kv_head=1", "model.rope_base=500", "model.tie_head=false"),
    ],
    "biases": ["model.position=rope", "model.norm=rmsnorm", "model.activation=geglu"],
}


@pytest.fixture
def exportable(composed, tmp_path):
    """`exportable(*words)`: the directory of a small run of three steps."""
    (tmp_path / "text.txt").write_text(TEXT)

    def call(*words):
        sizes = ["model.n_layer=2", "model.n_head=2", "model.n_embd=8", "model.block_size=16"]
        steps = ["trainer.max_steps=3", "optim.lr=0.1", "model.init_std=0.2"]
        data = ["data=text", f"data.path={tmp_path / 'text.txt'}"]
        return run_experiment(composed(*WORDS, *sizes, *steps, *data, *words), tmp_path).path

    return call
