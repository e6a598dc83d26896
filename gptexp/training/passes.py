"""The passes of one update, forward and backward, and how ranks come to the sum of their gradients.

Gradients are summed and not averaged: each pass divides its loss by the targets of all ranks.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist  # which torch has imported
from torch import Tensor, nn

from gptexp.models.base import Model
from gptexp.runtime.distributed import Ranks


class Passes:
    """Those of a process alone, which shares nothing."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward  # of the model, compiled or not

    def within(self, last: bool) -> AbstractContextManager[None]:
        """What a pass, forward and backward, is made in; of the last one of an update or not."""
        return nullcontext()

    def done(self, loss: Tensor) -> Tensor:
        """The loss of an update over all ranks, once the last pass here is made."""
        return loss


class Replicated(Passes):
    """Each rank has all weights; gradients are summed by buckets in the last backward pass."""

    def __init__(self, forward: nn.Module, ranks: Ranks, finds_unused: bool) -> None:
        self.ranks = ranks
        self.wrapped = nn.parallel.DistributedDataParallel(
            forward, find_unused_parameters=finds_unused
        )
        self.wrapped.register_comm_hook(None, _summed)
        super().__init__(self.wrapped)

    def within(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self.wrapped.no_sync()

    def done(self, loss: Tensor) -> Tensor:
        return self.ranks.sum(loss)


class Counted(Passes):
    """The same for a model whose gradients are not backpropagated, so that no hook sees them."""

    def __init__(self, model: Model, ranks: Ranks) -> None:
        super().__init__(model)
        self.ranks, self.parameters = ranks, list(model.parameters())

    def done(self, loss: Tensor) -> Tensor:
        for parameter in self.parameters:
            if parameter.grad is not None:
                self.ranks.sum(parameter.grad)
        return self.ranks.sum(loss)


class Sharded(Passes):
    """Each rank has a shard of the weights: see runtime/shards.py."""

    def __init__(self, model: Any, ranks: Ranks) -> None:
        super().__init__(model)
        self.model, self.ranks = model, ranks

    def within(self, last: bool) -> AbstractContextManager[None]:
        self.model.set_requires_gradient_sync(last)
        return nullcontext()

    def done(self, loss: Tensor) -> Tensor:
        return self.ranks.sum(loss)


def passes(model: Model, forward: Any, ranks: Ranks) -> Passes:
    """The passes of a model, through `forward`, which may be a compiled form of it."""
    if not ranks.several:
        return Passes(forward)
    if ranks.shards:
        return Sharded(model, ranks)
    if type(model).backward is not Model.backward:
        return Counted(model, ranks)
    ours = type(model).__module__.startswith("gptexp.")  # all of whose weights have a part
    return Replicated(forward, ranks, finds_unused=not ours)


def _summed(
    _: None,
    bucket: dist.GradBucket,  # type: ignore[name-defined]  # DDP looks for this type
) -> torch.futures.Future[Tensor]:
    """DDP's own sum of a bucket of gradients, without its division by the number of ranks."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])
