"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor, nn


class Rope(nn.Module):
    """Turns pairs of numbers of a query or key by angles that grow with its position.

    Pair i of `width` / 2, the numbers 2i and 2i + 1, turns by position * base^(-2i / width), so
    that a product of a query and a key depends on how far they stand apart alone. The table is a
    function of the config, and no part of a checkpoint.
    """

    def __init__(self, width: int, positions: int, base: float) -> None:
        super().__init__()
        rates = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
        turns = torch.stack((angles.cos(), angles.sin()), dim=-1).float()
        self.register_buffer("turns", turns, persistent=False)  # [positions, pairs, 2]
        self.turns: Tensor

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """`x` [..., time, head, width], whose first position is `start`, turned."""
        turns = self.turns[start : start + x.shape[-3], None]  # [time, 1, pairs, 2]
        pairs = x.to(turns.dtype).unflatten(-1, (-1, 2))
        if torch.compiler.is_compiling():  # which has no kernels of its own for complex numbers
            (one, other), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
            turned = torch.stack((one * cos - other * sin, other * cos + one * sin), dim=-1)
        else:  # one pass over memory, and as one product it keeps nothing for the backward pass
            product = torch.view_as_complex(pairs) * torch.view_as_complex(turns)
            turned = torch.view_as_real(product)
        return turned.flatten(-2).to(x.dtype)
