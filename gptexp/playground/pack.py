"""Weights in few bytes, and the model that they are afterwards: what a page holds, and runs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptexp.errors import ConfigError, Problem
from gptexp.models.base import Model

KINDS = ("float16", "int8")  # of weights; a page may have either

INT8 = 127  # the largest of its numbers that is used, so that 0 is in the middle

COUNTS = "counts"  # of a table of bigrams, which float16 would neither hold nor tell apart

Rounded = tuple[bytes, NDArray[np.float32]]  # as the page has it, and as it is there


@dataclass(frozen=True)
class Packed:
    """A model's weights in the order of its parameters, a tied head left out."""

    tensors: list[dict[str, Any]]  # of each the name, the shape and the kind
    data: bytes
    model: Model  # a copy with the rounded weights


@torch.no_grad()
def pack(model: Model, kind: str, owner: object) -> Packed:
    """Round a model's weights to a kind of KINDS.

    With int8 each row of a matrix has a scale of its own in float32, and vectors are float16. A
    table of counts stays float32. Raises ConfigError, about `owner`, for weights that have no place
    in float16, or are not finite.
    """
    rounded = copy.deepcopy(model)
    tensors, parts = [], []
    for name, parameter in rounded.named_parameters():
        chosen = _kind_of(name, parameter, kind)
        values = parameter.detach().cpu().float().numpy()
        data, back = ROUND[chosen](values)
        if not np.isfinite(back).all():
            what = f"weights of {name} have no place in {chosen}"
            fix = "--weights int8" if chosen == kind == "float16" else "another run"
            raise ConfigError(Problem(str(owner), what, fix))
        parameter.copy_(torch.from_numpy(back).to(parameter))
        tensors.append({"name": name, "shape": list(values.shape), "kind": chosen})
        parts.append(data)
    return Packed(tensors, b"".join(parts), rounded)


def _kind_of(name: str, parameter: Tensor, kind: str) -> str:
    if name == COUNTS:
        return "float32"
    return kind if parameter.ndim >= 2 else "float16"


def _to_int8(values: NDArray[np.float32]) -> Rounded:
    """Each row's scale, then its numbers."""
    scales = np.abs(values).max(axis=1, keepdims=True) / INT8
    scales = np.where(scales > 0, scales, 1).astype("<f4")
    numbers = np.rint(values / scales).astype(np.int8)
    data = b"".join(s.tobytes() + n.tobytes() for s, n in zip(scales, numbers, strict=True))
    return data, numbers * scales


def _to_float(dtype: str) -> Callable[[NDArray[np.float32]], Rounded]:
    def round_to(values: NDArray[np.float32]) -> Rounded:
        with np.errstate(over="ignore"):  # infinities are refused by name
            numbers = values.astype(dtype)
        return numbers.tobytes(), numbers.astype(np.float32)

    return round_to


ROUND = {"float16": _to_float("<f2"), "float32": _to_float("<f4"), "int8": _to_int8}
