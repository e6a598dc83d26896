"""The nonlinearities of a GPT's MLP."""

from typing import Any

import torch
from torch import Tensor, nn

from gptexp.config import Activation


class ReLU2(nn.Module):
    """The square of ReLU (So et al. 2021, Primer)."""

    def forward(self, x: Tensor) -> Tensor:
        squared: Tensor = _SquaredReLU.apply(x)
        return squared


class _SquaredReLU(torch.autograd.Function):
    """y = r^2 with r = max(x, 0), so dL/dx = 2 r dL/dy: one of torch's steps less each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (positive * g).mul_(2)


class Gated(nn.Module):
    """Half of the units [..., 2 hidden], scaled by a nonlinearity of the other half.

    GLU variants (Shazeer 2020): SwiGLU with SiLU, GEGLU with GELU.
    """

    def __init__(self, nonlinearity: nn.Module) -> None:
        super().__init__()
        self.nonlinearity = nonlinearity

    def forward(self, x: Tensor) -> Tensor:
        gate, units = x.chunk(2, dim=-1)
        return self.nonlinearity(gate) * units


def build_activation(kind: Activation) -> nn.Module:
    """The nonlinearity that the config names; a gated one halves the last dimension."""
    match kind:
        case Activation.gelu:
            return nn.GELU()
        case Activation.gelu_tanh:
            return nn.GELU(approximate="tanh")
        case Activation.relu:
            return nn.ReLU()
        case Activation.relu2:
            return ReLU2()
        case Activation.silu:
            return nn.SiLU()
        case Activation.swiglu:
            return Gated(nn.SiLU())
        case Activation.geglu:
            return Gated(nn.GELU())
    raise TypeError(f"no activation for {kind}")
