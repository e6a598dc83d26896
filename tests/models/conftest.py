"""What the tests of models share."""

from collections.abc import Callable

import pytest
import torch

from gptexp.config import GPTConfig
from gptexp.models.build import build_model
from gptexp.runtime.device import Runtime


@pytest.fixture
def kept_by_autograd() -> Callable[..., float]:
    """Numbers of 4 bytes for each token that a forward pass keeps for the backward pass."""

    def count(
        cfg: GPTConfig,
        dtype: torch.dtype = torch.float32,
        recomputes: bool = False,
        boundary: int | None = None,
    ) -> float:
        runtime = Runtime(torch.device("cpu"), dtype)
        network, tokens = build_model(cfg, 65, 0).to(runtime.weights), 2 * cfg.block_size
        network.recomputes, network.boundary = recomputes, boundary
        own = {each.data_ptr() for each in (*network.parameters(), *network.buffers())}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own and tensor.dtype is not torch.long:  # of ids
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, runtime.autocast():
            logits = network(torch.zeros(2, cfg.block_size, dtype=torch.long))
        assert logits.requires_grad
        return sum(kept.values()) / 4 / tokens

    return count
