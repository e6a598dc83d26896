"""Optimizer variants over parameter groups that partition the parameters."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gptexp import plugins
from gptexp.config import (
    AdamConfig,
    AdamWConfig,
    CountConfig,
    MuonConfig,
    OptimConfig,
    SGDConfig,
)
from gptexp.errors import CheckpointError, Problem
from gptexp.optim.adamw import CautiousAdamW
from gptexp.optim.counting import Counting
from gptexp.optim.decay import schedule_decay
from gptexp.optim.groups import Group, parameter_groups, rows_of_matrices, set_by_step
from gptexp.optim.muon import ROWS, Muon, MuonWithAdamW
from gptexp.optim.scaling import lr_scales


def build_optimizer(cfg: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the config asks for, over the parameters of `model`.

    Fused where torch has it: those kernels are the faster ones, and they alone take `found_inf`,
    which leaves weights and moments untouched where a gradient is not finite (training/step.py).
    """
    groups = _groups(cfg, model.parameters(), lr_scales(model, cfg))
    if (plugin := plugins.own(cfg)) is not None:
        with plugins.running(plugin):
            own: torch.optim.Optimizer = plugin.call(cfg, groups)
            return own
    match cfg:
        case MuonConfig():
            return _with_muon(cfg, model)
        case AdamWConfig():
            return _adamw(cfg, groups)
        case AdamConfig():
            betas = (cfg.beta1, cfg.beta2)
            return torch.optim.Adam(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, fused=True)
        case SGDConfig():
            return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, fused=True)
        case CountConfig():
            return Counting(list(model.parameters()))
    raise TypeError(f"no optimizer for {type(cfg).__name__}")


def _groups(
    cfg: OptimConfig, parameters: Iterable[nn.Parameter], scales: Mapping[nn.Parameter, float]
) -> list[Group]:
    """Groups of some parameters, with all that the config says of their rates and their decay.

    Their learning rates are so many times optim.lr, or once where `scales` does not say.
    """
    groups = parameter_groups(parameters, cfg.weight_decay, scales)
    if isinstance(cfg, AdamWConfig):
        schedule_decay(groups, cfg)
    return groups


def _adamw(cfg: AdamWConfig, groups: list[Group]) -> torch.optim.AdamW:
    betas = (cfg.beta1, cfg.beta2)
    if cfg.cautious_decay:
        return CautiousAdamW(groups, lr=cfg.lr, betas=betas, eps=cfg.eps)
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, fused=True)


def _with_muon(cfg: MuonConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Muon of the hidden matrices, as far as there are any, and AdamW of all else."""
    rows, scales = rows_of_matrices(model), lr_scales(model, cfg)
    of_adam = 1.0 if cfg.adam_lr is None else cfg.adam_lr / cfg.lr
    rest = {p: of_adam * scales.get(p, 1.0) for p in model.parameters() if p not in rows}
    adamw = _adamw(cfg, _groups(cfg, rest, rest))
    if not rows:
        return adamw
    groups = _groups(cfg, rows, scales)
    for group in groups:
        group["rows"] = [rows[parameter] for parameter in group["params"]]
    both = MuonWithAdamW(Muon(groups, cfg), adamw)
    held = [id(parameter) for group in both.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters())), "each parameter is in one group"
    return both


def describe(cfg: OptimConfig, model: nn.Module) -> str:
    """What a config does not say of its optimizer by itself, in words; empty where it says all."""
    words = []
    if isinstance(cfg, MuonConfig):
        matrices = rows_of_matrices(model)
        count = sum(parameter.numel() for parameter in matrices)
        others = sum(parameter.numel() for parameter in model.parameters()) - count
        words.append(
            f"hidden matrices by Muon: {len(matrices):,} of {count:,} parameters; the other "
            f"{others:,} by AdamW"
        )
    if isinstance(cfg, AdamWConfig) and cfg.decay_timescale is not None:
        words.append(
            f"weight_decay={cfg.weight_decay:.3g} by decay_timescale={cfg.decay_timescale:g} epochs"
        )
    return "; ".join(words)


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
        f"{key} of group {number}: checkpoint {theirs[key]}, config {ours.get(key, 'none')}"
        for number, (theirs, ours) in enumerate(zip(given, wanted, strict=True))
        for key in theirs
        if key not in ("params", *set_by_step(ours)) and theirs[key] != ours.get(key)
    ]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, moments in state["state"].items():
        for name, moment in moments.items():
            shape = list(parameters[index].shape)[: 1 if name == ROWS else None]
            if isinstance(moment, Tensor) and name != "step" and list(moment.shape) != shape:
                theirs = list(moment.shape)
                differing.append(
                    f"{name} of parameter {index}: checkpoint {theirs}, config {shape}"
                )
    return differing
