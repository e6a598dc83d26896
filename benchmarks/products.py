"""The floor of a step: the matrix products of a GPT alone, and with them attention's kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.config import GPTConfig


def shapes(cfg: GPTConfig, vocab_size: int) -> list[tuple[int, int]]:
    """The weights [out, in] that the tokens of a batch are multiplied with."""
    width = cfg.n_embd
    block = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    return [*block * cfg.n_layer, (vocab_size, width)]


class Products:
    """What forward and backward pass multiply, in one buffer for each shape: nothing is allocated.

    A weight takes part in three products: the output, and the gradients of input and weight.
    """

    def __init__(
        self, cfg: GPTConfig, vocab_size: int, rows: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, device=device, dtype=dtype)

        sizes = shapes(cfg, vocab_size)
        self.weights = [draw(*size) for size in sizes]
        self.gradients = {size: draw(*size) for size in sizes}
        widths = {width for size in sizes for width in size}
        self.activations = {width: draw(rows * cfg.block_size, width) for width in widths}
        self.results = {width: torch.empty_like(x) for width, x in self.activations.items()}

    @torch.no_grad()
    def run(self, steps: int) -> None:
        """The products of so many steps."""
        for weight in self.weights * steps:
            wide, narrow = weight.shape
            inputs, outputs = self.activations[narrow], self.activations[wide]
            torch.mm(inputs, weight.t(), out=self.results[wide])
            torch.mm(outputs, weight, out=self.results[narrow])
            torch.mm(outputs.t(), inputs, out=self.gradients[wide, narrow])


class AttentionKernel:
    """Attention of all layers without dropout, forward and backward."""

    def __init__(self, cfg: GPTConfig, rows: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (rows, cfg.n_head, cfg.block_size, cfg.n_embd // cfg.n_head)
        self.heads = [
            torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3)
        ]
        self.gradient = torch.randn(shape, device=device, dtype=dtype)
        self.layers = cfg.n_layer

    def run(self, steps: int) -> None:
        """That of so many steps."""
        for _ in range(self.layers * steps):
            mixed = F.scaled_dot_product_attention(*self.heads, is_causal=True)
            torch.autograd.grad(mixed, self.heads, self.gradient)
