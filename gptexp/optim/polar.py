"""The orthogonal matrix nearest to a given one, by matrix products alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gptexp.config import Coefficients

Polynomial = tuple[float, float, float]  # a x + b x^3 + c x^5 of each singular value x

EPS = 1e-7  # smallest norm that is divided by

# Jordan et al. 2024: the same in each step, steep at 0; singular values end in about [0.7, 1.2].
NEWTON_SCHULZ: Polynomial = (3.4445, -4.7750, 2.0315)

# Amsel et al. 2025 (arXiv 2505.16932), algorithm 1: each the best one after those before it, for
# singular values down to a thousandth of the largest. The last one is that of all further steps.
POLAR_EXPRESS: tuple[Polynomial, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)
MARGIN = 1.01  # over 1, beyond which rounding might carry a singular value away


def polynomials(coefficients: Coefficients, steps: int) -> list[Polynomial]:
    """The polynomials of so many steps, for a matrix whose Frobenius norm is 1."""
    if coefficients is Coefficients.newton_schulz:
        return [NEWTON_SCHULZ] * steps
    last = len(POLAR_EXPRESS) - 1
    chosen = [
        _within(MARGIN, POLAR_EXPRESS[step]) if step < last else POLAR_EXPRESS[last]
        for step in range(steps)
    ]
    return [_within(MARGIN, chosen[0]), *chosen[1:]]  # the norm that is divided by has it too


def _within(margin: float, polynomial: Polynomial) -> Polynomial:
    """The polynomial of x / margin."""
    a, b, c = polynomial
    return a / margin, b / margin**3, c / margin**5


def polar_factors(matrices: Sequence[Tensor], steps: Sequence[Polynomial]) -> list[Tensor]:
    """About U V^T of each matrix U S V^T; those of equal shape are computed together.

    On CUDA float32 is taken in bfloat16, and the results are left in it.
    """
    wide = [m.mT if m.shape[0] > m.shape[1] else m for m in matrices]
    places: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(wide):
        places.setdefault(matrix.shape, []).append(place)
    factors = list(wide)
    for equal in places.values():
        batch = _polar_factors(torch.stack([wide[place] for place in equal]), steps)
        for place, factor in zip(equal, batch, strict=True):
            factors[place] = factor
    return [f.mT if m.shape[0] > m.shape[1] else f for m, f in zip(matrices, factors, strict=True)]


def _polar_factors(x: Tensor, steps: Sequence[Polynomial]) -> Tensor:
    """Those of a batch [count, m, n], where m is at most n."""
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS)
    if x.is_cuda and x.dtype is torch.float32:
        x = x.bfloat16()
    for a, b, c in steps:
        gram = x @ x.mT  # [count, m, m]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
