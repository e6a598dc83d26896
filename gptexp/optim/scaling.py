"""Learning rates and initial weights over the width: the maximal update parametrisation."""

import math

import torch
from torch import nn

from gptexp.config import AdamWConfig, MuonConfig, OptimConfig, Scaling
from gptexp.optim.groups import Role, roles


def lr_scales(model: nn.Module, cfg: OptimConfig) -> dict[nn.Parameter, float]:
    """What optim.lr is multiplied by, for the parameters where that is not 1.

    Of a model that is n_embd = w wide, where optim.lr and model.init_std are for b, base_width:

    | parameters            | initial weights | lr of Adam | lr of Muon  |
    |-----------------------|-----------------|------------|-------------|
    | tables, norms, biases | 1               | 1          |             |
    | hidden matrices       | sqrt(b / w)     | b / w      | sqrt(b / w) |
    | head                  | b / w           | b / w      |             |

    That is table 3 of Yang et al. 2022 (arXiv 2203.03466); an update of Muon, which is
    0.2 sqrt(max(m, n)) in its largest singular value, is so the same at each width. A trained model
    is as any other, for no factor is left in its forward pass. A head that is tied to the token
    table cannot have one of its own: gain and bias of the final norm have it. Attention over heads
    of one size is the same at each width, so n_head is to grow with n_embd.
    """
    if (ratio := _ratio(model, cfg)) == 1:
        return {}
    of_matrices = math.sqrt(ratio) if isinstance(cfg, MuonConfig) else ratio
    return dict.fromkeys(_matrices(model), of_matrices) | dict.fromkeys(_readout(model), ratio)


@torch.no_grad()
def scale_weights(model: nn.Module, cfg: OptimConfig) -> None:
    """Bring weights that are freshly drawn, as for base_width, to the width of the model."""
    if (ratio := _ratio(model, cfg)) != 1:
        for parameter in _matrices(model):
            parameter.mul_(math.sqrt(ratio))
        for parameter in _readout(model):
            parameter.mul_(ratio)


def _ratio(model: nn.Module, cfg: OptimConfig) -> float:
    """The base width over that of the model; 1 without scaling."""
    if not isinstance(cfg, AdamWConfig) or cfg.scaling is Scaling.none:
        return 1.0
    width: int = model.cfg.n_embd  # type: ignore[assignment,union-attr]
    return cfg.base_width / width


def _matrices(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter, role in roles(model).items() if role is Role.matrix]


def _readout(model: nn.Module) -> list[nn.Parameter]:
    """The head; where it is tied, the parameters of the final norm."""
    head = [parameter for parameter, role in roles(model).items() if role is Role.head]
    return head or [p for name, p in model.named_parameters() if name.startswith("final_norm.")]
