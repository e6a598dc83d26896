"""Which part each parameter plays, and the groups in which an optimizer takes them."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from torch import nn

Group = dict[str, Any]  # of a torch.optim.Optimizer

OWN = ("lr_scale", "decay_power", "decay_factor")  # settings that torch does not know, where needed


class Role(Enum):
    """What a parameter is there for."""

    table = "table"  # rows that are looked up; or more than two dimensions
    matrix = "matrix"  # from one hidden layer to the next
    head = "head"  # from the last one to the logits
    vector = "vector"  # norms and biases


def roles(model: nn.Module) -> dict[nn.Parameter, Role]:
    """The part that each parameter plays, in the order of the model.

    The head is what a module named `head` holds; one that is tied to a table is a table.
    """
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    role_of = {}
    for name, parameter in model.named_parameters():  # a tied weight comes once
        if parameter.ndim < 2:
            role_of[parameter] = Role.vector
        elif parameter.ndim > 2 or parameter in tables:
            role_of[parameter] = Role.table
        else:
            role_of[parameter] = Role.head if "head" in name.split(".") else Role.matrix
    return role_of


def parameter_groups(
    parameters: Iterable[nn.Parameter],
    weight_decay: float,
    lr_scales: Mapping[nn.Parameter, float],
) -> list[Group]:
    """Groups that partition the parameters, those that are decayed first.

    Matrices and tables are decayed; norms and biases, all vectors, are not (as in GPT-2). Of what
    `lr_scales` names the learning rate is so many times that of the others. What a step takes off
    the weights, lr x weight_decay, is the same share of all that are decayed.
    """
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in parameters:  # a tied weight comes once
        key = (parameter.ndim < 2, lr_scales.get(parameter, 1.0))
        members.setdefault(key, []).append(parameter)
    groups = []
    for is_vector, scale in sorted(members):
        decay = 0.0 if is_vector else weight_decay / scale
        group: Group = {"params": members[is_vector, scale], "weight_decay": decay}
        groups.append(group if scale == 1.0 else {**group, "lr_scale": scale})
    return groups


def set_rates(groups: Iterable[Group], lr: float) -> None:
    """Give each group its learning rate where `lr` is that of the schedule, and its decay there."""
    for group in groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
        if "decay_power" in group:  # see decay.py
            group["weight_decay"] = group["decay_factor"] * lr ** group["decay_power"]


def set_by_step(group: Group) -> tuple[str, ...]:
    """The settings that `set_rates` gives a group anew at each step."""
    return ("lr", "weight_decay") if "decay_power" in group else ("lr",)


def rows_of_matrices(model: nn.Module) -> dict[nn.Parameter, list[int]]:
    """How many rows of each hidden matrix make one by itself: as a rule all.

    A module with `sizes` has several in its `qkv` or `up`: queries, keys and values, or units and
    their gate.
    """
    rows = {p: [len(p)] for p, role in roles(model).items() if role is Role.matrix}
    for module in model.modules():
        for name in ("qkv", "up") if hasattr(module, "sizes") else ():
            if isinstance(linear := getattr(module, name, None), nn.Linear):
                rows[linear.get_parameter("weight")] = list(module.sizes)  # type: ignore[arg-type]
    return rows
