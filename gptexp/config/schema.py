"""Every knob: its type and its one-line meaning. Values live in `conf/`, never here.

The classes are plain dataclasses without torch, because tab completion and `--cfg` import them. A
field without a default must be given by a YAML file. A field added after a release gets a default
that means the old behaviour, so that old run directories and checkpoints keep their identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Norm(Enum):
    layernorm = "layernorm"
    rmsnorm = "rmsnorm"


class Activation(Enum):
    gelu = "gelu"
    relu = "relu"


class Position(Enum):
    learned = "learned"
    none = "none"


class OnOverfit(Enum):
    stop = "stop"
    observe = "observe"


class Keep(Enum):
    best = "best"
    all = "all"


class Dtype(Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


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


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """A text, or documents, cut into train, test and validation."""

    name: str  # label, part of the run's directory name
    asset: str | None  # a corpus known by name (see assets.py), or null
    path: str | None  # a UTF-8 text file of your own, or null
    fraction: float  # prefix of the training tokens to train on, in (0, 1]
    val_fraction: float  # share at the end, of characters or documents, kept for validation
    test_fraction: float  # share right before that kept for a final test
    documents: bool = False  # each line is a document of its own, which no context reaches beyond
    shuffle: bool = False  # documents in another order than the file's, the same for every seed


@dataclass(kw_only=True, slots=True)
class TokenizerConfig:
    """Base of the tokenizer variants."""

    name: str  # which variant


@dataclass(kw_only=True, slots=True)
class CharTokenizerConfig(TokenizerConfig):
    """One token per distinct character of the corpus."""


@dataclass(kw_only=True, slots=True)
class ByteTokenizerConfig(TokenizerConfig):
    """One token per byte of the text's UTF-8 form: always 256 tokens."""


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    """Base of the optimizer variants."""

    name: str  # which variant
    lr: float  # peak learning rate
    weight_decay: float  # applied to matrices and tables, not to norms and biases


@dataclass(kw_only=True, slots=True)
class AdamWConfig(OptimConfig):
    """Adam with decoupled weight decay."""

    beta1: float  # decay of the mean of gradients
    beta2: float  # decay of the mean of squared gradients
    eps: float  # added to the denominator


@dataclass(kw_only=True, slots=True)
class AdamConfig(OptimConfig):
    """Adam; weight_decay is an L2 term in the gradient."""

    beta1: float  # decay of the mean of gradients
    beta2: float  # decay of the mean of squared gradients
    eps: float  # added to the denominator


@dataclass(kw_only=True, slots=True)
class SGDConfig(OptimConfig):
    """Stochastic gradient descent with heavy-ball momentum."""

    momentum: float  # share of the last update carried over; 0 is plain SGD


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """Base of the schedules: a linear warm-up, then the variant's own curve."""

    name: str  # which variant
    warmup_steps: int  # updates until the learning rate reaches its peak


@dataclass(kw_only=True, slots=True)
class CosineConfig(ScheduleConfig):
    """Half a cosine from the peak to final_fraction of it at max_steps."""

    final_fraction: float  # learning rate at the end, as a share of the peak


@dataclass(kw_only=True, slots=True)
class LinearConfig(ScheduleConfig):
    """A straight line from the peak to final_fraction of it at max_steps."""

    final_fraction: float  # learning rate at the end, as a share of the peak


@dataclass(kw_only=True, slots=True)
class ConstantConfig(ScheduleConfig):
    """The peak, for ever."""


BUDGETS = ("max_tokens", "max_epochs", "max_flops")  # of TrainerConfig, for max_steps


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """How long, how much at once, how often to look, and where."""

    max_steps: int  # optimizer updates; counts where none of the three budgets below is given
    batch_size: int  # sequences per forward pass
    grad_accum: int  # forward passes per update
    grad_clip: float  # largest global gradient norm; 0 switches clipping off
    eval_interval: int  # updates between exact evaluations
    eval_batch_size: int  # windows per forward pass of an evaluation
    log_interval: int  # updates between lines of the training loss
    sample_interval: int  # updates between samples; 0 samples at the end only
    sample_tokens: int  # length of each sample, or at most of each document in it
    sample_temperature: float  # temperature of the samples; 0 is greedy
    sample_top_k: int | None  # sample among the k likeliest tokens, or null for all
    checkpoint_interval: int | None  # extra checkpoints between evaluations, in updates, or null
    on_overfit: OnOverfit  # stop when validation stops improving, or observe the whole cliff
    patience: int  # evaluations without a gain above min_delta before stopping
    min_delta: float  # smallest gain in nats that resets patience
    device: str  # auto, cpu, mps, cuda or cuda:N
    dtype: Dtype  # arithmetic of the forward pass; weights stay float32
    compile: bool  # torch.compile the forward pass of training; evaluation runs as written
    keep: Keep  # checkpoints that stay when the run is done: the best alone, or all
    retry_failed: bool  # train a diverged run again
    threads: int | None = None  # of the CPU, or null for torch's own choice
    sample_documents: int = 20  # documents in each sample, where the data are documents
    max_tokens: int | None = None  # budget in place of max_steps: tokens trained on, or null
    max_epochs: float | None = None  # budget in place of max_steps: passes over train, or null
    max_flops: float | None = None  # budget in place of max_steps: floating-point work, or null

    @property
    def budgets(self) -> list[str]:
        """Which budgets are given in place of max_steps; of a legal config at most one."""
        return [key for key in BUDGETS if getattr(self, key) is not None]


@dataclass(kw_only=True, slots=True)
class LoggerConfig:
    """Which mirrors of metrics.jsonl to write."""

    name: str  # label
    tensorboard: bool  # event files in the run directory
    wandb: bool = False  # a run in Weights & Biases, online where there is a key
    entity: str | None = None  # W&B: user or team, or null for the default one
    project: str = "gptexp"  # W&B: project
    group: str | None = None  # W&B: group, or null for the run's name
    job_type: str = "train"  # W&B: job type
    tags: list[str] = field(default_factory=list)  # W&B: tags


@dataclass(kw_only=True, slots=True)
class Config:
    """One run."""

    name: str  # folder under outputs/ that groups runs
    seed: int  # root of every random stream
    rerun: bool  # move a run of the same name aside and train anew
    init_from: str | None  # run directory or checkpoint whose weights to start from, or null
    model: ModelConfig
    data: DataConfig
    tokenizer: TokenizerConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    logger: LoggerConfig


VARIANTS: dict[str, dict[str, type]] = {
    "model": {"gpt": GPTConfig, "mlp": MLPConfig, "bigram": BigramConfig},
    "tokenizer": {"char": CharTokenizerConfig, "byte": ByteTokenizerConfig},
    "optim": {"adamw": AdamWConfig, "adam": AdamConfig, "sgd": SGDConfig},
    "schedule": {"cosine": CosineConfig, "linear": LinearConfig, "constant": ConstantConfig},
}
SINGLE: dict[str, type] = {
    "data": DataConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}


def variant(group: str, section: Mapping[str, Any]) -> Any:
    """Which of VARIANTS[group] the plain values of a section are of.

    The name of a model is the preset's, so its kind stands beside it; the first runs had one kind.
    """
    return section.get("kind", "gpt") if group == "model" else section["name"]
