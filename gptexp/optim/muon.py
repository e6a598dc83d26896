"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal; AdamW takes the rest."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gptexp.config import Coefficients, MuonConfig
from gptexp.optim.decay import shrink
from gptexp.optim.groups import Group
from gptexp.optim.polar import polar_factors, polynomials

RMS = 0.2  # of an update at a learning rate of 1: about that of AdamW (Liu et al. 2025, Moonlight)
EPS = 1e-10  # added to a root mean square

ROWS = "row_sq_avg"  # in the state: the mean square of each row, [rows]


class Piece(NamedTuple):
    """A matrix by itself: a parameter, or some of its rows."""

    weight: Tensor  # [m, n], a view
    direction: Tensor  # [m, n], to be made orthogonal
    squares: Tensor | None  # [m], a view of the rows' mean squares, with normuon


class Muon(torch.optim.Optimizer):
    """Moves matrices against their momentum, made orthogonal: W -= lr x 0.2 sqrt(max(m, n)) U V^T.

    The factor gives the update the size of AdamW's, so that one learning rate serves both (Liu et
    al. 2025, arXiv 2502.16982). With `normuon` each row is first divided by the root of its mean
    square over time (Li et al. 2025, arXiv 2510.05491).

    `rows` of a group says of each of its parameters how many rows make a matrix of their own, as of
    queries, keys and values that lie in one. On CUDA float32 is orthogonalised in bfloat16.
    """

    def __init__(self, groups: list[Group], cfg: MuonConfig) -> None:
        names = ("lr", "momentum", "nesterov", "ns_steps", "normuon", "beta2")
        settings = {name: getattr(cfg, name) for name in names}
        super().__init__(groups, {**settings, "coefficients": cfg.coefficients.value})
        self.cautious = cfg.cautious_decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Decay the matrices, and move them."""
        for group in self.param_groups:
            pieces = list(self._pieces(group))
            steps = polynomials(Coefficients(group["coefficients"]), group["ns_steps"])
            factors = polar_factors([piece.direction for piece in pieces], steps)
            for piece, factor in zip(pieces, factors, strict=True):
                update = _sized(factor.to(piece.weight.dtype), piece.squares, group["beta2"])
                share = group["lr"] * group["weight_decay"]
                shrink(piece.weight, update, share, self.cautious)
                piece.weight.sub_(update, alpha=group["lr"])

    def _pieces(self, group: Group) -> Iterator[Piece]:
        """The matrices that have a gradient, once the momentum has taken it in."""
        for weight, rows in zip(group["params"], group["rows"], strict=True):
            if weight.grad is None:
                continue
            state = self._state(weight, group["normuon"])
            mean = state["momentum_buffer"]
            mean.lerp_(weight.grad, 1 - group["momentum"])
            direction = weight.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean
            squares: tuple[Tensor | None, ...] = (None,) * len(rows)
            if group["normuon"]:
                squares = state[ROWS].split(rows)
            yield from map(Piece, weight.split(rows), direction.split(rows), squares)

    def _state(self, weight: Tensor, normuon: bool) -> dict[str, Any]:
        """What is kept of a parameter, zeros at first; a branch may begin to be `normuon`."""
        state: dict[str, Any] = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        if normuon and ROWS not in state:
            state[ROWS] = weight.new_zeros(len(weight))
        return state


def _sized(factor: Tensor, squares: Tensor | None, beta2: float) -> Tensor:
    """The orthogonal matrix [m, n] as large as an update of AdamW's; takes it into `squares`."""
    if squares is None:
        return factor * (RMS * math.sqrt(max(factor.shape)))
    squares.lerp_(factor.square().mean(dim=1), 1 - beta2)
    even = factor / (squares.sqrt() + EPS)[:, None]
    return even * (RMS * math.sqrt(even.numel()) / even.norm().clamp(min=EPS))


class MuonWithAdamW(torch.optim.Optimizer):
    """Both as one: their groups and their state are here, and shared with the two."""

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW) -> None:
        self.parts = (muon, adamw)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters."""
        for part in self.parts:
            part.step()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state, which load_state_dict makes anew."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.__setstate__({"state": self.state, "param_groups": self.param_groups[start:end]})
            start = end
