"""The model section: every key with its type and meaning, beside its rules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from gptexp.config.ranges import above_zero, positive, share
from gptexp.errors import Problem


class Norm(Enum):
    layernorm = "layernorm"
    rmsnorm = "rmsnorm"


class Activation(Enum):
    gelu = "gelu"
    relu = "relu"
    gelu_tanh = "gelu_tanh"
    relu2 = "relu2"
    silu = "silu"
    swiglu = "swiglu"
    geglu = "geglu"

    @property
    def gated(self) -> bool:
        """Whether half of the units are a gate for the other half."""
        return self in (Activation.swiglu, Activation.geglu)


class Position(Enum):
    learned = "learned"
    none = "none"
    rope = "rope"


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
    """One GPT; its switches span microGPT, nanoGPT's and a model of 2026."""

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
    activation: Activation  # nonlinearity of the MLP; swiglu and geglu have a gate
    position: Position  # learned position table, rope (rotated queries and keys), or none
    tie_head: bool  # the head shares the token table
    scale_residuals: bool = True  # draw the layers that add to the stream smaller, as GPT-2 does
    zero_init: bool = False  # the layers that add to the stream begin at zero
    rope_base: float = 10_000.0  # pair i of a head turns by rope_base^(-2i / width) a token
    n_kv_head: int | None = None  # heads of keys and values, shared by groups of heads; null: all
    window: list[int] = field(default_factory=list)  # tokens a layer sees, in turn; 0: all
    qk_norm: bool = False  # an RMSNorm without gain on each query and key
    mlp_width: int | None = None  # hidden units; null: 4 n_embd, with a gate 8/3 of it
    norm_eps: float = 1e-5  # added in the norms to the variance, or to the mean square

    @property
    def head_width(self) -> int:
        """Numbers of a query, a key or a value."""
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        """Heads that keys and values have."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def hidden(self) -> int:
        """Hidden units of the MLP.

        A gate takes a third matrix, so they are fewer by a third, in multiples of 8 (Shazeer 2020).
        """
        if self.mlp_width is not None:
            return self.mlp_width
        return 8 * max(1, round(self.n_embd / 3)) if self.activation.gated else 4 * self.n_embd

    def window_of(self, layer: int) -> int | None:
        """Tokens up to its own that each one of a layer sees; None for the whole context."""
        size = self.window[layer % len(self.window)] if self.window else 0
        return size if 0 < size < self.block_size else None

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
        yield from above_zero("model.rope_base", self.rope_base, "10000")
        yield from above_zero("model.norm_eps", self.norm_eps, "1e-5")
        if self.mlp_width is not None:
            yield from positive("model.mlp_width", self.mlp_width)
        yield from self._attention_problems()

    def _attention_problems(self) -> Iterator[Problem]:
        """What the switches of attention ask of the sizes, which are in their ranges or told of."""
        if self.n_kv_head is not None:
            yield from positive("model.n_kv_head", self.n_kv_head)
            if self.n_kv_head > 0 and self.n_head > 0 and self.n_head % self.n_kv_head:
                what = f"{self.n_kv_head} does not divide model.n_head={self.n_head}"
                yield Problem("model.n_kv_head", what, f"model.n_kv_head={self._nearest_groups()}")
        for size in self.window:
            if not 0 <= size < 2**63:
                what = f"{size} is no number of tokens"
                fix = "'model.window=[64,0]', 0 for the whole context"
                yield Problem("model.window", what, fix)
        rope, heads = self.position is Position.rope, self.n_head
        if rope and heads > 0 and self.n_embd > 0 and self.n_embd % (2 * heads) == heads:
            what = f"rope turns pairs of numbers, and heads are {self.head_width} wide"
            fix = f"model.n_embd={self.n_embd + heads}, or model.position=learned"
            yield Problem("model.position", what, fix)

    def _nearest_groups(self) -> int:
        """The largest number of heads for keys and values up to n_kv_head that divides n_head."""
        downwards = range(min(self.n_kv_head or 1, self.n_head, FAR), 0, -1)
        return next((count for count in downwards if self.n_head % count == 0), 1)

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
