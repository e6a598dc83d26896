"""The nonlinearities of a GPT's MLP."""

from torch import Tensor, nn

from gptexp.config import Activation


class ReLU2(nn.Module):
    """The square of ReLU (So et al. 2021, Primer)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


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
