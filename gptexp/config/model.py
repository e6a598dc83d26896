"""The model section: every key with its type and meaning, beside its rules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from gptexp.config.ranges import positive


class Norm(Enum):
    layernorm = "layernorm"
    rmsnorm = "rmsnorm"


class Activation(Enum):
    gelu = "gelu"
    relu = "relu"


class Position(Enum):
    learned = "learned"
    none = "none"


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """Base of the model variants."""

    name: str  # label of the preset, part of the run's directory name
    kind: str = "gpt"  # which variant
    block_size: int  # longest context, in tokens


@dataclass(kw_only=True, slots=True)
class GPTConfig(ModelConfig):
    """One GPT; its switches span microGPT to nanoGPT's."""

    n_layer: int  # transformer blocks
    n_head: int  # attention heads per block; divides n_embd
    n_embd: int  # width of the residual stream
    dropout: float  # probability of zeroing, on embeddings, attention weights and residual branches
    bias: bool  # additive biases in the linear layers and in LayerNorm
    init_std: float  # standard deviation of the initial weights
    norm: Norm  # layernorm or rmsnorm, before each branch
    norm_gain: bool  # learned per-channel gain in the norms
    embd_norm: bool  # a norm right after the embeddings
    final_norm: bool  # a norm before the head
    activation: Activation  # nonlinearity of the MLP
    position: Position  # learned position table, or none
    tie_head: bool  # the head shares the token table
    scale_residuals: bool = True  # draw the layers that add to the stream smaller, as GPT-2 does


@dataclass(kw_only=True, slots=True)
class MLPConfig(ModelConfig):
    """A perceptron over the embeddings of the last few tokens (Bengio et al. 2003)."""

    context: int  # tokens that a prediction rests on
    n_embd: int  # width of an embedding
    n_hidden: int  # width of the hidden layer
    init_std: float  # standard deviation of the initial weights


@dataclass(kw_only=True, slots=True)
class BigramConfig(ModelConfig):
    """How often each token followed each other one: counted, not learned."""

    smoothing: float  # added to each count; 1 is Laplace's rule


SMALLEST = 1e-30  # smoothing


def _model(model: ModelConfig) -> Iterator[str]:
    sizes = ("n_layer", "n_head", "n_embd", "n_hidden", "context", "block_size")
    for key in sizes:
        if hasattr(model, key):
            yield from positive(f"model.{key}", getattr(model, key))
    match model:
        case GPTConfig():
            yield from _gpt(model)
        case BigramConfig():
            if not (math.isfinite(model.smoothing) and model.smoothing >= SMALLEST):
                what = f"is not a finite number from {SMALLEST}, which float32 can hold"
                yield f"model.smoothing: {model.smoothing} {what}. Fix: model.smoothing=1.0"
    if isinstance(model, GPTConfig | MLPConfig) and not (
        math.isfinite(model.init_std) and model.init_std > 0
    ):
        yield f"model.init_std: {model.init_std} is not above 0. Fix: model.init_std=0.02"


def _gpt(model: GPTConfig) -> Iterator[str]:
    if model.n_head > 0 and model.n_embd > 0 and model.n_embd % model.n_head:
        below = model.n_embd // model.n_head * model.n_head
        legal = [str(n) for n in (below, below + model.n_head) if n > 0]
        outwards = (model.n_head + sign * off for off in range(model.n_head) for sign in (-1, 1))
        nearest = next(heads for heads in outwards if model.n_embd % heads == 0)
        yield (
            f"model.n_embd: {model.n_embd} is not a multiple of model.n_head={model.n_head}. "
            f"Fix: model.n_embd={' or '.join(legal)}, or model.n_head={nearest}"
        )
    if not 0 <= model.dropout < 1:
        yield f"model.dropout: {model.dropout} is not in [0, 1). Fix: model.dropout=0.1"
