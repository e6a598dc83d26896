"""Optimizer variants over parameter groups that partition the parameters."""

import torch
from torch import nn

from gptexp.config import AdamConfig, AdamWConfig, OptimConfig, SGDConfig


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


def build(cfg: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Always the fused kernels: they are the faster ones, and they alone take `found_inf`, which
    leaves weights and moments untouched where a gradient is not finite (see trainer.py)."""
    groups = parameter_groups(model, cfg.weight_decay)
    match cfg:
        case AdamWConfig():
            betas = (cfg.beta1, cfg.beta2)
            return torch.optim.AdamW(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, fused=True)
        case AdamConfig():
            betas = (cfg.beta1, cfg.beta2)
            return torch.optim.Adam(groups, lr=cfg.lr, betas=betas, eps=cfg.eps, fused=True)
        case SGDConfig():
            return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, fused=True)
    raise TypeError(f"no optimizer for {type(cfg).__name__}")
