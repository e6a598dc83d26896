"""The model section: every key with its type and meaning, beside its rules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from gptexp.config.ranges import above_zero, positive, share
from gptexp.errors import Problem


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

    def problems(self) -> Iterator[Problem]:
        """Yield what is out of its range; a variant adds its own keys."""
        yield from positive("model.block_size", self.block_size)


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

    def problems(self) -> Iterator[Problem]:
        for key in ("n_layer", "n_head", "n_embd"):
            yield from positive(f"model.{key}", getattr(self, key))
        yield from ModelConfig.problems(self)
        if self.n_head > 0 and self.n_embd > 0 and self.n_embd % self.n_head:
            below = self.n_embd // self.n_head * self.n_head
            legal = [str(n) for n in (below, below + self.n_head) if n > 0]
            yield Problem(
                "model.n_embd",
                f"{self.n_embd} is not a multiple of model.n_head={self.n_head}",
                f"model.n_embd={' or '.join(legal)}, or model.n_head={self._nearest_heads()}",
            )
        yield from share("model.dropout", self.dropout, "0.1")
        yield from above_zero("model.init_std", self.init_std, "0.02")

    def _nearest_heads(self) -> int:
        """The number of heads nearest to n_head that divides n_embd; 1 where none is near."""
        wanted = min(self.n_head, self.n_embd)
        outwards = (wanted + sign * off for off in range(min(wanted, FAR)) for sign in (-1, 1))
        return next((heads for heads in outwards if self.n_embd % heads == 0), 1)


@dataclass(kw_only=True, slots=True)
class MLPConfig(ModelConfig):
    """A perceptron over the embeddings of the last few tokens (Bengio et al. 2003)."""

    context: int  # tokens that a prediction rests on
    n_embd: int  # width of an embedding
    n_hidden: int  # width of the hidden layer
    init_std: float  # standard deviation of the initial weights

    def problems(self) -> Iterator[Problem]:
        for key in ("n_embd", "n_hidden", "context"):
            yield from positive(f"model.{key}", getattr(self, key))
        yield from ModelConfig.problems(self)
        yield from above_zero("model.init_std", self.init_std, "0.02")


@dataclass(kw_only=True, slots=True)
class BigramConfig(ModelConfig):
    """A table of how often each token followed each other one: counted, not learned."""

    smoothing: float  # added to each count; 1 is Laplace's rule

    def problems(self) -> Iterator[Problem]:
        yield from ModelConfig.problems(self)
        if not (math.isfinite(self.smoothing) and self.smoothing >= SMALLEST):
            what = f"is not a finite number from {SMALLEST}, which float32 can hold"
            yield Problem("model.smoothing", f"{self.smoothing} {what}", "model.smoothing=1.0")


SMALLEST = 1e-30  # smoothing
FAR = 10_000  # heads, from those that were asked for

MODELS: dict[str, type[ModelConfig]] = {"gpt": GPTConfig, "mlp": MLPConfig, "bigram": BigramConfig}
