"""Optimizer variants over parameter groups that partition the parameters."""

from typing import Any

import torch
from torch import Tensor, nn

from gptexp import plugins
from gptexp.config import AdamConfig, AdamWConfig, CountConfig, OptimConfig, SGDConfig
from gptexp.errors import CheckpointError, Problem
from gptexp.optim.counting import Counting


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and tables are decayed; norms and biases, all vectors, are not (as in GPT-2)."""
    parameters = list(model.parameters())  # a tied weight comes once
    decayed = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    assert len(decayed) + len(others) == len(parameters)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(cfg: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the config asks for, over the parameters of `model`.

    Fused where torch has it: those kernels are the faster ones, and they alone take `found_inf`,
    which leaves weights and moments untouched where a gradient is not finite (training/step.py).
    """
    groups = parameter_groups(model, cfg.weight_decay)
    if (plugin := plugins.own(cfg)) is not None:
        with plugins.running(plugin):
            own: torch.optim.Optimizer = plugin.call(cfg, groups)
            return own
    match cfg:
        case AdamWConfig():
            betas = (cfg.beta1, cfg.beta2)
            return torch.optim.AdamW(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, fused=True)
        case AdamConfig():
            betas = (cfg.beta1, cfg.beta2)
            return torch.optim.Adam(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, fused=True)
        case SGDConfig():
            return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, fused=True)
        case CountConfig():
            return Counting(list(model.parameters()))
    raise TypeError(f"no optimizer for {type(cfg).__name__}")


def is_own(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its code is neither torch's nor ours, so that its state may be of any form."""
    return type(optimizer).__module__.partition(".")[0] not in ("torch", "gptexp")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up the state of a checkpoint; raises CheckpointError before anything is changed.

    torch takes another optimizer's state, and moments of other shapes, without a word.
    """
    fix = "rerun=true to train anew, without it"
    CheckpointError.raise_for(Problem("optim", what, fix) for what in misfits(optimizer, state))
    optimizer.load_state_dict(state)


def misfits(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> list[str]:
    """The parts of a checkpoint's state that are not this optimizer's; empty when all fits."""
    given, wanted = state["param_groups"], optimizer.state_dict()["param_groups"]
    # A setting that only `wanted` has is new in this torch, which fills it in.
    if foreign := set().union(*given) - set().union(*wanted):
        kind = type(optimizer).__name__
        return [f"the checkpoint has {', '.join(sorted(foreign))}, which {kind} does not have"]
    sizes = [[len(group["params"]) for group in groups] for groups in (given, wanted)]
    if sizes[0] != sizes[1]:
        return [f"groups of parameters: checkpoint {sizes[0]}, config {sizes[1]}"]
    if is_own(optimizer):
        return []  # its code is part of the run's identity
    differing = [
        f"{key} of group {number}: checkpoint {theirs[key]}, config {ours[key]}"
        for number, (theirs, ours) in enumerate(zip(given, wanted, strict=True))
        for key in theirs
        if key not in ("lr", "params") and theirs[key] != ours[key]  # each step sets its own lr
    ]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, moments in state["state"].items():
        shape = list(parameters[index].shape)
        differing += [
            f"{name} of parameter {index}: checkpoint {list(moment.shape)}, config {shape}"
            for name, moment in moments.items()
            if isinstance(moment, Tensor) and name != "step" and list(moment.shape) != shape
        ]
    return differing
