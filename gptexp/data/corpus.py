"""The splits of a text on the training device: random batches, and windows for exact evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SPLITS = ("train", "test", "val")

IGNORE_INDEX = -1  # where a padded row has nothing to predict


@dataclass(frozen=True)
class Splits:
    """Token ids, each of shape [tokens]; `train` is already cut to data.fraction."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    val: NDArray[np.int64]
    bounds: dict[str, tuple[int, int]]  # start and end of each split, in characters or documents


class Corpus(ABC):
    """What a trainer asks of its data. Batches are pure functions of the step."""

    boundary: int | None = None  # the token between documents; a text has none

    def __init__(self, splits: Splits, block_size: int, seed: int, device: torch.device) -> None:
        self.block_size = block_size
        self.seed = seed
        self.device = device
        parts = {"train": splits.train, "test": splits.test, "val": splits.val}
        self.tokens = {name: torch.from_numpy(ids).to(device) for name, ids in parts.items()}

    @abstractmethod
    def size(self, name: str) -> int:
        """Tokens in the split: what an epoch has."""

    @abstractmethod
    def sequences(self, name: str) -> float:
        """How many rows of a batch an epoch has: windows of a text, or documents."""

    @abstractmethod
    def trained(self, step: int, sequences: int) -> int:
        """Targets of the first `step` batches of so many sequences."""

    @abstractmethod
    def batch(self, name: str, step: int, sequences: int, rank: int = 0) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each [sequences, at most block_size], for one optimizer step.

        A function of (seed, rank, step) alone, so a resumed run needs no state of the data.
        """

    @abstractmethod
    def windows(
        self, name: str, batch_size: int, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets [at most batch_size, at most block_size] of a split, once, in order.

        Of its first `limit` tokens alone, where that is given.
        """

    @abstractmethod
    def judged(self, name: str) -> NDArray[np.bool_]:
        """Which tokens of the split an evaluation predicts, [tokens]."""

    def to_device(self, indices: NDArray[np.int64]) -> Tensor:
        """A copy that the host does not wait for: on CUDA it starts from pinned memory."""
        found = torch.from_numpy(indices)
        if self.device.type == "cuda":
            return found.pin_memory().to(self.device, non_blocking=True)
        return found.to(self.device)
