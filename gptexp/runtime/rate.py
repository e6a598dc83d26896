"""The rate at which the device multiplies matrices: what `train/mfu` is a share of."""

import time

import torch

from gptexp.runtime.device import Runtime

SIDES = {"cpu": 512, "mps": 2048, "cuda": 4096}  # of the square matrices
ENOUGH = 0.03  # seconds


def matrix_rate(runtime: Runtime) -> float:
    """Floating-point operations a second, in the run's arithmetic and with torch's threads.

    The fastest of a few products, after one that warms up, in some hundredths of a second. Draws
    from a generator of its own. Where other work has the cores, it comes out too low.
    """
    device, side = runtime.device, SIDES[runtime.device.type]
    generator = torch.Generator(device).manual_seed(0)
    drawn = torch.randn(2, side, side, generator=generator, device=device)
    left, right = drawn.to(runtime.dtype)
    product = torch.empty_like(left)
    took: list[float] = []
    with torch.no_grad():
        while len(took) < 3 or sum(took) < ENOUGH:
            runtime.synchronize()
            began = time.perf_counter()
            torch.mm(left, right, out=product)
            runtime.synchronize()
            took.append(time.perf_counter() - began)
    return 2 * side**3 / min(took[1:])
