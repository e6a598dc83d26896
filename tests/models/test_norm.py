"""RMSNorm and ReLU2 on a CPU have gradients of their own: they are those of torch's formulas."""

import pytest
import torch
import torch.nn.functional as F

from gptexp.models.activation import ReLU2
from gptexp.models.norm import rms_norm


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("eps", [None, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_rms_norm_and_its_gradients_are_those_of_torch(weighted, eps, dtype):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 2, 8, dtype=dtype) * torch.logspace(-4, 3, 5, dtype=dtype)[:, None, None]
    weight = torch.randn(8, dtype=dtype) if weighted else None
    inputs = [t.requires_grad_() for t in (x, weight) if t is not None]
    ours, theirs = rms_norm(x, weight, eps), F.rms_norm(x, (8,), weight, eps)
    rough = 1e-12 if dtype is torch.float64 else 2e-6
    torch.testing.assert_close(ours, theirs, rtol=rough, atol=rough)
    down = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(y, inputs, down) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=rough, atol=rough * float(b.abs().max()))


def test_a_row_of_zeros_has_a_norm_and_a_gradient():
    x = torch.zeros(2, 8, requires_grad=True)
    rms_norm(x, eps=1e-5).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_a_squared_relu_has_the_gradient_of_its_formula():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    ours, theirs = ReLU2()(x), x.clamp(min=0) ** 2
    assert torch.equal(ours, theirs)
    (a,), (b,) = (torch.autograd.grad(y.cos().sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-15)
