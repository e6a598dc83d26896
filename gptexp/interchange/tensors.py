"""Tensors read from the files of other programs, of which nothing is run and nothing trusted."""

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.files import NotRegularError, open_regular, read_json
from gptexp.runtime.memory import available_memory

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

SHARD = re.compile(r"[\w-][\w.-]{0,200}\.safetensors")  # a file of the same folder

TIMES = 4  # as many bytes as the file: as read, by our names, in a model, in a checkpoint


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors, or of the files that its index names.

    Raises CheckpointError, and ConfigError without the library.
    """
    names = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        names = _shards(folder / INDEX)
    return read_files([folder / name for name in names])


def read_files(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The tensors of safetensors files; raises CheckpointError, ConfigError without the library."""
    check_files(paths)
    tensors: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in _tensors(path):
            if name in tensors:
                what = f"holds {name!r:.80}, as another file of the folder does"
                raise CheckpointError(Problem(path, what, "a whole copy of the folder"))
            tensors[name] = tensor
    return tensors


def check_files(paths: Sequence[Path]) -> None:
    """Raises CheckpointError for what is no regular file, or takes more memory than there is."""
    size = 0
    for path in paths:
        try:
            with open_regular(path) as file:
                size += file.seek(0, 2)
        except OSError as error:
            raise CheckpointError(unreadable(path, error)) from error
    check_memory(TIMES * size, paths[0].parent)


def check_memory(needed: int, subject: Path) -> None:
    """Raises CheckpointError for more bytes than there are."""
    if needed > (available := available_memory(torch.device("cpu"))):
        free = f"{available / 1e9:,.1f} GB are free"
        what = f"takes about {needed / 1e9:,.1f} GB of memory, and {free}"
        raise CheckpointError(Problem(subject, what, "a machine with more"))


def named_tensors(path: Path, value: Any, fix: str) -> dict[str, Tensor]:
    """The value that a file holds; raises CheckpointError, with that fix, for no such dict."""
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        raise CheckpointError(Problem(path, "holds no tensors by names", fix))
    return value


def unreadable(path: Path, error: OSError) -> Problem:
    """Why a file of another program was not read."""
    if isinstance(error, FileNotFoundError):
        return Problem(path, "not there", "name what the other program wrote, whole")
    if isinstance(error, NotRegularError):
        fix = f"cp -rL {path.parent} COPY, and import that"
        return Problem(path, "not a regular file, and links are not followed", fix)
    return Problem(path, f"{error.strerror}", "make it readable")


def imported(module: str, extra: str = "huggingface") -> Any:
    """A module of a library that an extra brings; raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = "its files need the library of that name, which is not installed"
        fix = f"pip install -e '.[{extra}]'"
        raise ConfigError(Problem(module.partition(".")[0], what, fix)) from error


def _shards(index: Path) -> list[str]:
    """The files that an index names; raises CheckpointError for one of another folder."""
    stored = read_json(index, dict[str, Any], "a whole copy of the folder")
    names = stored.get("weight_map") if stored is not None else None
    if not isinstance(names, dict) or not names:
        what = "holds no weight_map from names to files"
        raise CheckpointError(Problem(index, what, "a whole copy of the folder"))
    files = dict.fromkeys(names.values()) if all(map(_is_shard, names.values())) else None
    if files is None:
        odd = next(name for name in names.values() if not _is_shard(name))
        what = f"names {odd!r:.80}, which is no safetensors file of its folder"
        raise CheckpointError(Problem(index, what, "a whole copy of the folder"))
    return [*files]


def _is_shard(name: Any) -> bool:
    return isinstance(name, str) and SHARD.fullmatch(name) is not None


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of a safetensors file; the library checks its header against its size."""
    safetensors = imported("safetensors")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no dict
                yield name, file.get_tensor(name)
    except safetensors.SafetensorError as error:
        what = f"no whole safetensors file: {error!s:.120}"
        raise CheckpointError(Problem(path, what, "a whole copy of it")) from error
