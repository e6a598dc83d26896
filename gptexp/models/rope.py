"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import torch
from torch import Tensor, nn


class Rope(nn.Module):
    """Turns pairs of numbers of a query or key by angles that grow with its position.

    Pair i of `width` / 2, the numbers i and i + width / 2, turns by position * base^(-2i / width),
    so that a product of a query and a key depends on how far they stand apart alone. The tables
    are functions of the config, and no part of a checkpoint.
    """

    def __init__(self, width: int, positions: int, base: float) -> None:
        super().__init__()
        rates = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates  # [positions, pairs]
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """`x` [..., time, width], whose first position is `start`, turned."""
        places = slice(start, start + x.shape[-2])
        cos, sin = self.cos[places], self.sin[places]  # [time, pairs]
        one, other = x.chunk(2, dim=-1)
        turned = torch.cat((one * cos - other * sin, other * cos + one * sin), dim=-1)
        return turned.to(x.dtype)  # autocast's, where the tables are wider
