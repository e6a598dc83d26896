"""What every model is, and what it tells of itself from its config alone."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptexp.config import ModelConfig
from gptexp.models.kv_cache import KVCache


class Model(nn.Module, ABC):
    """Token ids [batch, time] to logits [batch, time, vocab_size], time at most block_size.

    Logits of a place depend on the ids up to it alone. The class methods take the config of the
    class' own variant; what they say here is found by building the model without its numbers.
    """

    recomputes = False  # whether the backward pass makes again what blocks make, which is not kept
    boundary: int | None = None  # the token that begins a document, which sees no other one

    def __init__(self, cfg: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.vocab_size = vocab_size

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """The logits of what follows each of `ids`."""

    @abstractmethod
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every parameter from `generator`."""

    def recomputed(self, block: nn.Module, *inputs: Any) -> Any:
        """What a block makes; where the model `recomputes`, its inputs alone are kept.

        The backward pass then calls the block once more, with the masks of dropout that it drew
        (Chen et al. 2016). A block changes nothing outside it, which torch.compile would not allow.
        """
        if not (self.recomputes and torch.is_grad_enabled()):
            return block(*inputs)
        return checkpoint(block, *inputs, use_reentrant=False)

    def documents(self, ids: Tensor) -> Tensor | None:
        """The number of the document that each of `ids` [batch, time] is in, of its row.

        None where documents are not told apart, and all of a row see each other. The first of a row
        may have begun before it. A model whose tokens see each other hides those of other numbers.
        """
        return None if self.boundary is None else (ids == self.boundary).cumsum(dim=1)

    def new_cache(self) -> KVCache | None:
        """An empty cache, with which `model(ids, cache)` reads only what is new to it.

        None for a model without one, which reads its whole context each time.
        """
        return None

    def backward(self, loss: Tensor, ids: Tensor, targets: Tensor) -> None:
        """Add to the gradients what a batch teaches: by backpropagation of its `loss`.

        `ids` and `targets` [batch, time] are what the loss was made of. In float16 `loss` is a
        multiple of it, by which the gradients are divided afterwards.
        """
        loss.backward()

    def components(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by component, each once: a tied head adds none."""
        components: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            components.setdefault(self.component_of(name), []).append(parameter)
        return components

    def component_of(self, name: str) -> str:
        """The component of a parameter: a table of embeddings, or its module of the model."""
        owner, _, _ = name.rpartition(".")
        is_table = isinstance(self.get_submodule(owner), nn.Embedding)
        return "token table" if is_table else name.partition(".")[0]

    @classmethod
    def count_parameters(cls, cfg: Any, vocab_size: int) -> dict[str, int]:
        """How many parameters each component has."""
        components = cls._sketch(cfg, vocab_size).components()
        return {name: sum(p.numel() for p in parameters) for name, parameters in components.items()}

    @classmethod
    def flops_per_token(cls, cfg: Any, vocab_size: int) -> int:
        """Floating-point operations per trained token, forward and backward.

        6 per weight of a matrix product: 2 forward, 4 backward. Table look-ups, norms and biases
        are left out.
        """
        modules = cls._sketch(cfg, vocab_size).modules()
        own = [m.parameters(recurse=False) for m in modules if not isinstance(m, nn.Embedding)]
        return 6 * sum(p.numel() for parameters in own for p in parameters if p.ndim >= 2)

    @classmethod
    def saved_activations(cls, cfg: Any) -> int:
        """Numbers that are held for each token, at the most, once the backward pass began.

        0 where that is not known: what training takes of memory is said to be that at least.
        """
        return 0

    @classmethod
    def saved_by_dropout(cls, cfg: Any) -> int:
        """Numbers as wide as weights that dropout adds on a CPU; kernels of CUDA keep few."""
        return 0

    @classmethod
    def saved_by_documents(cls, cfg: Any) -> int:
        """Numbers for each token that telling documents apart adds, as wide as products are."""
        return 0

    @classmethod
    def recomputed_activations(cls, cfg: Any) -> int:
        """As saved_activations, of a model that `recomputes`."""
        return cls.saved_activations(cfg)

    @classmethod
    def recomputed_by_dropout(cls, cfg: Any) -> int:
        """As saved_by_dropout, of a model that `recomputes`."""
        return cls.saved_by_dropout(cfg)

    @classmethod
    def describe(cls, cfg: Any) -> str:
        """The architecture in a few words."""
        return (cls.__doc__ or cls.__name__).partition("\n")[0].rstrip(".")

    @classmethod
    def _sketch(cls, cfg: Any, vocab_size: int) -> "Model":
        with torch.device("meta"):
            return cls(cfg, vocab_size)
