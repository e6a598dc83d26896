"""One GPT, pre-norm, whose switches span microGPT, nanoGPT's and a model of 2026.

Forward returns logits.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from gptexp.config import Activation, GPTConfig, Norm, Position
from gptexp.models.activation import build_activation
from gptexp.models.attention import Attention, Shared
from gptexp.models.base import Model
from gptexp.models.causal import document_masks
from gptexp.models.dropout import Dropout, saved_weights
from gptexp.models.kv_cache import KVCache
from gptexp.models.norm import NormLayer
from gptexp.text import plural


class MLP(nn.Module):
    """Two linear layers, some four times as wide in between."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.dropout = Dropout(cfg.dropout)
        self.activation = build_activation(cfg.activation)
        self.sizes = (cfg.hidden,) * (2 if cfg.activation.gated else 1)  # rows of up, by what for
        self.up = nn.Linear(cfg.n_embd, sum(self.sizes), bias=cfg.bias)
        self.proj = nn.Linear(cfg.hidden, cfg.n_embd, bias=cfg.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.proj(self.activation(self.up(x))))


class Block(nn.Module):
    """Attention, then an MLP, each on the normed stream and added back to it."""

    def __init__(self, cfg: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = NormLayer(cfg)
        self.attention = Attention(cfg, layer)
        self.mlp_norm = NormLayer(cfg)
        self.mlp = MLP(cfg)

    def forward(self, x: Tensor, shared: Shared) -> Tensor:
        x = x + self.attention(self.attention_norm(x), shared)
        return x + self.mlp(self.mlp_norm(x))


class GPT(Model):
    """Token and position tables, blocks of attention and MLP, a head."""

    cfg: GPTConfig

    def __init__(self, cfg: GPTConfig, vocab_size: int) -> None:
        super().__init__(cfg, vocab_size)
        self.token_table = nn.Embedding(vocab_size, cfg.n_embd)
        learned = cfg.position is Position.learned
        self.position_table = nn.Embedding(cfg.block_size, cfg.n_embd) if learned else None
        self.embd_norm = NormLayer(cfg) if cfg.embd_norm else nn.Identity()
        self.dropout = Dropout(cfg.dropout)
        self.blocks = nn.ModuleList(Block(cfg, layer) for layer in range(cfg.n_layer))
        self.final_norm = NormLayer(cfg) if cfg.final_norm else nn.Identity()
        self.head = nn.Linear(cfg.n_embd, vocab_size, bias=False)
        if cfg.tie_head:
            self.head.weight = self.token_table.weight

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The logits of what follows each of `ids`, which go on from the tokens in `cache`."""
        time = ids.shape[1]
        start = cache.advance(time) if cache is not None else 0
        x = self.token_table(ids)  # [batch, time, n_embd]
        if self.position_table is not None:
            x = x + self.position_table.weight[start : start + time]
        x = self.dropout(self.embd_norm(x))
        shared = Shared(cache, masks=self.masks(ids, x, cache))
        for block in self.blocks:
            x = self.recomputed(block, x, shared) if cache is None else block(x, shared)
        logits: Tensor = self.head(self.final_norm(x))
        return logits

    def masks(self, ids: Tensor, x: Tensor, cache: KVCache | None) -> dict[int | None, Tensor]:
        """For each window of the layers what hides other documents; none where all see all.

        `ids` [batch, time], which come behind those of the cache, are embedded as `x`.
        """
        documents = self.documents(ids)
        if documents is None:
            return {}
        if cache is not None:
            documents = cache.number(documents)
        kind, dtype = x.device.type, x.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        return document_masks(documents, ids.shape[1], self.windows(self.cfg), dtype)

    def new_cache(self) -> KVCache:
        return KVCache(self.cfg.n_layer, self.cfg.block_size)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every parameter, in the order of `named_parameters`, from `generator`.

        | parameters                               | distribution                           |
        |------------------------------------------|----------------------------------------|
        | token table, position table, head        | N(0, init_std)                         |
        | qkv and up weights                       | N(0, init_std)                         |
        | proj weights, which add to the residuals | N(0, init_std / sqrt(2 n_layer))       |
        | biases                                   | 0                                      |
        | gains of the norms                       | 1                                      |

        The scale of the proj weights keeps the variance of the residual stream, to which 2 n_layer
        branches add, independent of depth (Radford et al. 2019, GPT-2, section 2.3). Without
        scale_residuals they are drawn like the others, as in microGPT. With zero_init they are 0,
        so that each block begins as if it were not there (Goyal et al. 2017; Yang et al. 2022).
        """
        std = self.cfg.init_std
        branches = 2 * self.cfg.n_layer if self.cfg.scale_residuals else 1
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            elif self.cfg.zero_init and name.endswith("proj.weight"):
                parameter.zero_()
            elif name.endswith("proj.weight"):
                parameter.normal_(0.0, std / math.sqrt(branches), generator=generator)
            else:
                parameter.normal_(0.0, std, generator=generator)

    def component_of(self, name: str) -> str:
        """The component of a parameter, over all blocks, as count_parameters names it."""
        part = name.split(".")[2 if name.startswith("blocks.") else 0]
        return "norms" if part.endswith("norm") else part.replace("_", " ")

    @classmethod
    def count_parameters(cls, cfg: GPTConfig, vocab_size: int) -> dict[str, int]:
        width, layers = cfg.n_embd, cfg.n_layer
        bias = int(cfg.bias)
        norm = width * (int(cfg.norm_gain) + int(cfg.bias and cfg.norm is Norm.layernorm))
        norms = 2 * layers + int(cfg.embd_norm) + int(cfg.final_norm)
        units = cls._units(cfg)
        return {
            "token table": vocab_size * width,
            "position table": cfg.block_size * width if cfg.position is Position.learned else 0,
            "attention": layers * (cls._attention(cfg) + bias * (cls._qkv(cfg) + width)),
            "mlp": layers * (cls._mlp(cfg) + bias * (units + width)),
            "norms": norms * norm,
            "head": 0 if cfg.tie_head else vocab_size * width,
        }

    @classmethod
    def flops_per_token(cls, cfg: GPTConfig, vocab_size: int) -> int:
        """6 per weight of a matrix product, and what attention adds.

        That is 12 n_embd for each token that a layer sees, of the scores and their weighted sums
        (Chowdhery et al. 2022, PaLM, appendix B): block_size, or its window.
        """
        seen = sum(cfg.window_of(layer) or cfg.block_size for layer in range(cfg.n_layer))
        matrices = cfg.n_layer * (cls._attention(cfg) + cls._mlp(cfg)) + vocab_size * cfg.n_embd
        return 6 * matrices + 12 * cfg.n_embd * seen

    @classmethod
    def saved_activations(cls, cfg: GPTConfig) -> int:
        """16 n_embd a layer: inputs of norms, products and the nonlinearity.

        Less or more by the switches, and 12 n_embd for the gradients of the layer that the backward
        pass is in.
        """
        turned = cfg.qk_norm or cfg.position is Position.rope  # queries and keys, once more
        width, qkv = cfg.n_embd, cls._qkv(cfg)
        values = (qkv - width) // 2
        attention = 3 * width + qkv + int(turned) * (qkv - values)
        return cfg.n_layer * (attention + 2 * width + cls._saved_units(cfg)) + 12 * width

    @classmethod
    def saved_by_dropout(cls, cfg: GPTConfig) -> int:
        """A mask of n_embd after the embedding and each branch, and what attention keeps more.

        Without its fused kernel, that is its weights with their random bits, and its result again.
        """
        if cfg.dropout == 0:
            return 0
        masks = (2 * cfg.n_layer + 1) * cfg.n_embd
        windows = (cfg.window_of(layer) for layer in range(cfg.n_layer))
        weights = sum(saved_weights(cfg.n_head, cfg.block_size, window) for window in windows)
        return masks + weights + cfg.n_layer * cfg.n_embd

    @classmethod
    def saved_by_documents(cls, cfg: GPTConfig) -> int:
        """A row of the mask of each window, which the layers share."""
        return len(cls.windows(cfg)) * cfg.block_size

    @classmethod
    def windows(cls, cfg: GPTConfig) -> set[int | None]:
        """The different windows of the layers; None for one that sees its whole context."""
        return {cfg.window_of(layer) for layer in range(cfg.n_layer)}

    @classmethod
    def recomputed_activations(cls, cfg: GPTConfig) -> int:
        """The input of each block, and all of the one that the backward pass is in."""
        return cls.saved_activations(cls._at_once(cfg)) + cfg.n_layer * cfg.n_embd

    @classmethod
    def recomputed_by_dropout(cls, cfg: GPTConfig) -> int:
        return cls.saved_by_dropout(cls._at_once(cfg))

    @classmethod
    def _at_once(cls, cfg: GPTConfig) -> GPTConfig:
        """The layer with the widest window: of one, all is held while blocks are recomputed."""
        seen = max(cfg.window_of(layer) or cfg.block_size for layer in range(cfg.n_layer))
        return replace(cfg, n_layer=1, window=[seen])

    @classmethod
    def _qkv(cls, cfg: GPTConfig) -> int:
        """Rows of the matrix that makes queries, keys and values."""
        return cfg.n_embd + 2 * cfg.kv_heads * cfg.head_width

    @classmethod
    def _units(cls, cfg: GPTConfig) -> int:
        """Rows of the matrix that makes the hidden units, and their gate where there is one."""
        return 2 * cfg.hidden if cfg.activation.gated else cfg.hidden

    @classmethod
    def _saved_units(cls, cfg: GPTConfig) -> int:
        """Numbers of the hidden layer that are held for each token, before and after activation."""
        if cfg.activation is Activation.relu:  # whose gradient is told by what it gives
            return cfg.hidden
        between = cfg.hidden if cfg.activation.gated else 0
        return cls._units(cfg) + between + cfg.hidden

    @classmethod
    def _attention(cls, cfg: GPTConfig) -> int:
        """Weights of the matrices in one layer's attention."""
        return cfg.n_embd * (cls._qkv(cfg) + cfg.n_embd)

    @classmethod
    def _mlp(cls, cfg: GPTConfig) -> int:
        """Weights of the matrices in one layer's MLP."""
        return cfg.n_embd * (cls._units(cfg) + cfg.hidden)

    @classmethod
    def describe(cls, cfg: GPTConfig) -> str:
        layers, heads = plural(cfg.n_layer, "layer"), plural(cfg.n_head, "head")
        return f"{layers}, {heads}, {cfg.n_embd} wide, context of {cfg.block_size}"
