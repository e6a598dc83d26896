"""Weights and moments of which each rank holds a shard, by FSDP (Zhao et al. 2023): cut and whole.

Checkpoints hold whole tensors, as those of one process do. All of it is for ranks that shard.
"""

from typing import Any

import torch
from torch import Tensor, nn


def shard(model: nn.Module, kind: str) -> None:
    """Leave a shard of each weight here, of ranks on devices of that kind; layers are units.

    Gradients are summed over the ranks.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(kind, (torch.distributed.get_world_size(),))
    stacks = [child for child in model.children() if isinstance(child, nn.ModuleList)]
    for unit in [*(layer for stack in stacks for layer in stack), model]:
        fully_shard(unit, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def whole(value: Any, keeps: bool) -> Any:
    """The same with each shard as a whole tensor on the CPU, or None on a rank that keeps none.

    All ranks must ask for the same.
    """
    if isinstance(value, dict):
        return {key: whole(item, keeps) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item, keeps) for item in value]
    if not hasattr(value, "full_tensor"):
        return value
    full = value.full_tensor()
    return full.cpu() if keeps else None


def shards_of(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The shards that this rank has of whole `weights`, as the model's own are cut."""
    own = model.state_dict()
    return {name: _cut(weight, own[name]) for name, weight in weights.items()}


def shards_of_moments(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole state of an optimizer, with what is shaped as its parameter cut as that is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    cut = {
        index: {name: _cut(moment, parameters[index]) for name, moment in moments.items()}
        for index, moments in state["state"].items()
    }
    return {**state, "state": cut}


def _cut(value: Any, like: Any) -> Any:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
