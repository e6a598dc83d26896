"""The activations of one forward pass, kept by hooks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def record_activations(
    model: nn.Module, inputs: Tensor
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits [time, vocab] of `inputs` [time]; by name, what each submodule was given and made."""
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_: nn.Module, arguments: Any, output: Any) -> None:
            if arguments and isinstance(arguments[0], Tensor):
                given[name] = arguments[0][0]
            if isinstance(output, Tensor):  # an own model's may give or take anything
                made[name] = output[0]

        return keep

    hooks = [
        module.register_forward_hook(keeper(name)) for name, module in model.named_modules() if name
    ]
    try:
        logits: Tensor = model(inputs[None])[0]
    finally:
        for hook in hooks:
            hook.remove()
    return logits, given, made
