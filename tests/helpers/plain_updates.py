"""Updates of optimizers as their papers write them, in float64, a number or a matrix at a time."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

JORDAN = [(3.4445, -4.7750, 2.0315)] * 5

# Amsel et al. 2025, algorithm 1, for its first five steps, the norm included.
EXPRESS = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
]


def by_singular_values(matrix: Tensor, coefficients: str) -> Tensor:
    """U p(S) V^T, with the polynomials of five steps one after another on the singular values."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / matrix.norm()
    if coefficients == "polar_express":
        values = values / 1.01
    for a, b, c in JORDAN if coefficients == "newton_schulz" else EXPRESS:
        x = values if coefficients == "newton_schulz" else values / 1.01
        values = a * x + b * x**3 + c * x**5
    return left @ values.diag() @ right


def muon(
    weight: Tensor,
    gradients: list[Tensor],
    *,
    lr: float = 0.1,
    weight_decay: float = 0.5,
    momentum: float = 0.9,
    nesterov: bool = True,
    coefficients: str = "newton_schulz",
    normuon: bool = False,
    beta2: float = 0.95,
    cautious: bool = False,
) -> Tensor:
    """One matrix after as many steps as it has gradients."""
    mean, squares = torch.zeros_like(weight), torch.zeros(len(weight), dtype=weight.dtype)
    for gradient in gradients:
        mean = momentum * mean + (1 - momentum) * gradient
        seen = momentum * mean + (1 - momentum) * gradient if nesterov else mean
        update = by_singular_values(seen, coefficients)
        if normuon:
            squares = beta2 * squares + (1 - beta2) * (update**2).mean(dim=1)
            update = update / squares.sqrt()[:, None]
            update = 0.2 * math.sqrt(update.numel()) * update / update.norm()
        else:
            update = 0.2 * math.sqrt(max(weight.shape)) * update
        kept = (update * weight >= 0) if cautious else 1.0
        weight = weight - lr * weight_decay * kept * weight - lr * update
    return weight


def adamw(
    weight: Tensor,
    gradients: list[Tensor],
    *,
    lr: float = 0.1,
    weight_decay: float = 0.5,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    cautious: bool = False,
) -> Tensor:
    """One parameter after as many steps as it has gradients."""
    mean, squares = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        squares = betas[1] * squares + (1 - betas[1]) * gradient**2
        update = mean / (1 - betas[0] ** step)
        update = update / ((squares / (1 - betas[1] ** step)).sqrt() + eps)
        kept = (update * weight >= 0) if cautious else 1.0
        weight = weight - lr * weight_decay * kept * weight - lr * update
    return weight


class Fused(nn.Module):
    """Queries, keys and values in one, as attention with fewer heads of the latter has them."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (4, 2, 2)
        self.qkv = nn.Linear(4, 8, dtype=torch.float64)


class Hidden(nn.Module):
    """Parameters of each role, in float64: table, fused and plain matrix, vector, head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4, dtype=torch.float64)
        self.attention = Fused()
        self.up = nn.Linear(4, 6, bias=False, dtype=torch.float64)
        self.head = nn.Linear(6, 5, bias=False, dtype=torch.float64)


def gradients_of(model: nn.Module, steps: int) -> dict[str, list[Tensor]]:
    """Drawn ones, for each parameter as many as there are steps."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: [torch.randn(p.shape, generator=generator, dtype=p.dtype) for _ in range(steps)]
        for name, p in model.named_parameters()
    }


def take_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    gradients: dict[str, list[Tensor]],
    rate: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """The parameters after one update with each of their gradients."""
    for step in range(len(next(iter(gradients.values())))):
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name][step].clone()
        rate()
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
