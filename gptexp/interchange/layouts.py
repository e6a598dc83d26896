"""The weights of a GPT as another program keeps them: their names, their order, their shapes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gptexp.config import GPTConfig, Position
from gptexp.interchange.parts import Parts, shapes
from gptexp.interchange.tensors import TIMES, check_memory


@dataclass(frozen=True)
class Layout:
    """Where each of our parameters is, as a table of modules."""

    outside: Mapping[str, str]  # theirs, by the names of models.gpt
    inside: Mapping[str, Sequence[str]]  # of a block; several make one of ours, row below row
    layer: str  # what stands before the number of a block
    prefix: str = ""  # of all names but the head's; weights of the model alone are without it
    transposed: bool = False  # the matrices in the blocks
    halves: Sequence[str] = ()  # turned by the position, the numbers i and i + width / 2 together
    biases: bool = False  # there are always some: zeros where our model has none
    tied_head: bool = False  # a head that shares the token table is there too
    ignored: str = "$."  # a pattern of tables that follow from the sizes

    def names(self, name: str) -> list[str]:
        """The parameters that make one of ours, from the first rows to the last."""
        module, _, kind = name.rpartition(".")
        if not module.startswith("blocks."):
            return [f"{self.outside[module]}.{kind}"]
        _, layer, inner = module.split(".", 2)
        return [f"{self.layer}{layer}.{part}.{kind}" for part in self.inside[inner]]

    def heights(self, name: str, rows: int, model: GPTConfig) -> list[int]:
        """How many of our rows each of these has."""
        if (count := len(self.names(name))) == 3:  # queries, keys, values
            width = model.kv_heads * model.head_width
            return [model.n_embd, width, width]
        return [rows // count] * count

    def is_turned(self, name: str, dimensions: int) -> bool:
        """Whether a parameter of ours is transposed there."""
        return self.transposed and dimensions == 2 and name.startswith("blocks.")

    def in_halves(self, name: str) -> bool:
        """Whether the rows of one of theirs are in another order than ours, which is in pairs."""
        return any(f".{module}." in name for module in self.halves)


def to_state(parts: Parts, layout: Layout, model: GPTConfig, vocab_size: int) -> dict[str, Tensor]:
    """The weights by our names; raises CheckpointError for others than the config has."""
    check_memory(_needed(parts, model), parts.source)
    prefix = layout.prefix
    parts.tensors = {name.removeprefix(prefix): t for name, t in parts.tensors.items()}
    parts.check_layers(rf"{re.escape(layout.layer.removeprefix(prefix))}(\d+)\.", model.n_layer)
    parts.leave(layout.ignored)
    if model.tie_head:
        parts.leave(rf"{re.escape(layout.outside['head'])}\.weight$")
    state = {}
    for name, shape in shapes(model, vocab_size).items():
        if name == "head.weight" and model.tie_head:
            continue
        turned = layout.is_turned(name, len(shape))
        taken = []
        for theirs, rows in zip(
            layout.names(name), layout.heights(name, shape[0], model), strict=True
        ):
            wanted = [rows, *shape[1:]]
            part = parts.take(theirs.removeprefix(prefix), wanted[::-1] if turned else wanted)
            part = part.T.contiguous() if turned else part
            taken.append(_moved(part, model, halves=True) if layout.in_halves(theirs) else part)
        # What does not fit has no numbers, and none of it is used: finish() tells of it.
        state[name] = torch.cat(taken) if len(taken) > 1 and not parts.problems else taken[0]
    parts.finish()
    if model.tie_head:
        state["head.weight"] = state["token_table.weight"]
    return state


def _needed(parts: Parts, model: GPTConfig) -> int:
    """Bytes of the weights in float32, by our names, in a model and in a checkpoint.

    What follows from the sizes alone is in no file: the angles of each position, on their way from
    float64.
    """
    angles = model.block_size * model.head_width if model.position is Position.rope else 0
    numbers = sum(tensor.numel() for tensor in parts.tensors.values())
    return TIMES * 4 * numbers + 24 * angles


def from_state(
    state: Mapping[str, Tensor], layout: Layout, model: GPTConfig, vocab_size: int
) -> dict[str, Tensor]:
    """The inverse of to_state, in float32; gains that our norms do not have are ones."""
    full = replace(model, norm_gain=True, bias=model.bias or layout.biases)
    tensors = {}
    for name, shape in shapes(full, vocab_size).items():
        if name == "head.weight" and model.tie_head and not layout.tied_head:
            continue
        plain = torch.zeros if name.endswith("bias") else torch.ones
        weight = state[name].float() if name in state else plain(shape)
        cut = weight.split(layout.heights(name, shape[0], model))
        for theirs, part in zip(layout.names(name), cut, strict=True):
            part = _moved(part, model, halves=False) if layout.in_halves(theirs) else part
            tensors[theirs] = (part.T if layout.is_turned(name, part.ndim) else part).contiguous()
    return tensors


def _moved(weight: Tensor, model: GPTConfig, halves: bool) -> Tensor:
    """The rows [rows, ...] of a query's or key's matrix or bias, from halves to pairs or back."""
    half = model.head_width // 2
    shape = (-1, 2, half) if halves else (-1, half, 2)  # [heads, ...]
    return weight.unflatten(0, shape).transpose(1, 2).flatten(0, 2)
