"""What the modules of a model are given and make in a forward pass, seen by hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Told of each submodule, once it is through: its name, itself, the first that it was given, and
# what it made. An own model's may give or take anything.
See = Callable[[str, nn.Module, Any, Any], None]


@contextmanager
def listening(model: nn.Module, see: See) -> Iterator[None]:
    """Have `see` told of each submodule in the forward passes inside."""

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def tell(module: nn.Module, arguments: Any, output: Any) -> None:
            see(name, module, arguments[0] if arguments else None, output)

        return tell

    hooks = [
        module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name
    ]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout inside; the mode is afterwards as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def record_activations(
    model: nn.Module, inputs: Tensor
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits [time, vocab] of `inputs` [time]; by name, what each submodule was given and made."""
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, argument: Any, output: Any) -> None:
        if isinstance(argument, Tensor):
            given[name] = argument[0]
        if isinstance(output, Tensor):
            made[name] = output[0]

    with listening(model, keep):
        logits: Tensor = model(inputs[None])[0]
    return logits, given, made
