"""The tensors of another program's file, taken one by one under the names that it gives them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gptexp.config import GPTConfig
from gptexp.errors import CheckpointError, Problem
from gptexp.models.build import construct
from gptexp.text import listed, shortened

OTHER = "a model of another kind, or a whole copy of this one"


class Parts:
    """Tensors by name; what is missing, or of another shape, is noted until `finish` tells it."""

    def __init__(self, tensors: Mapping[str, Tensor], source: Path) -> None:
        self.tensors, self.source = dict(tensors), source
        self.problems: list[str] = []

    def check_layers(self, pattern: str, layers: int) -> None:
        """Raises CheckpointError where the names have another number of layers than is said.

        `pattern` is what their names begin with, with the number as its group.
        """
        numbers = {match[1] for name in self.tensors if (match := re.match(pattern, name))}
        if len(numbers) != layers:
            what = f"it is said to have {layers:,} layers, and its weights have {len(numbers):,}"
            raise CheckpointError(Problem(self.source, what, OTHER))

    def leave(self, pattern: str) -> None:
        """Leave out what has such a name: tables that follow from the sizes."""
        self.tensors = {name: t for name, t in self.tensors.items() if not re.match(pattern, name)}

    def take(self, name: str, shape: Sequence[int]) -> Tensor:
        """The tensor of that name as float32; of another shape, or none, one without numbers."""
        tensor = self.tensors.pop(name, None)
        if tensor is None:
            self.problems.append(f"{name} is missing")
        elif list(tensor.shape) != [*shape]:
            self.problems.append(f"{name} is {[*tensor.shape]}, not {[*shape]}")
        elif not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            self.problems.append(f"{name} holds {kind}, as quantised weights do")
        else:
            taken = tensor.to(torch.float32).contiguous()
            if bool(taken.isfinite().all()):
                return taken
            self.problems.append(f"{name} has NaN or Infinity")
        return torch.empty([*shape], device="meta")

    def finish(self) -> None:
        """Raises CheckpointError for what was noted, and for tensors that nobody took."""
        if self.tensors:
            names = listed([shortened(name, 80) for name in self.tensors], 3)
            self.problems.append(f"a GPT here has no place for {names}")
        if self.problems:
            what = f"its weights do not fit: {'; '.join(self.problems[:3])}"
            more = len(self.problems) - 3
            what += f"; and {more:,} more" if more > 0 else ""
            raise CheckpointError(Problem(self.source, what, OTHER))


def shapes(model: GPTConfig, vocab_size: int) -> dict[str, list[int]]:
    """Each parameter of a GPT with its shape, by the names of models.gpt; no memory is taken."""
    with torch.device("meta"):
        state = construct(model, vocab_size).state_dict()
    return {name: list(value.shape) for name, value in state.items()}


def cut_rows(weights: dict[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """The weights with the first rows of token table and head alone: others stand for no token."""
    tied = weights["head.weight"] is weights["token_table.weight"]
    table = weights["token_table.weight"][:vocab_size].clone()
    head = table if tied else weights["head.weight"][:vocab_size].clone()
    return {**weights, "token_table.weight": table, "head.weight": head}
