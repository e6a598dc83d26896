"""What a law is fitted to: trained models by size, tokens and loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Points:
    """Trained models as columns [rows] of equal length.

    Tokens that were seen and are fewer than a text has are unique, so `unique` is `tokens` there.
    Rows with one `cell` are the same but for the seed.
    """

    n: Array  # parameters
    tokens: Array  # seen in training, each as often as it was
    unique: Array  # tokens of the training text, at most `tokens`
    loss: Array  # nats per token
    cell: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        n: Sequence[float] | Array,
        tokens: Sequence[float] | Array,
        loss: Sequence[float] | Array,
        unique: Sequence[float] | Array | None = None,
    ) -> "Points":
        """The points of plain columns; without `unique`, no token was seen twice."""
        sizes, seen, losses = (np.asarray(x, dtype=np.float64) for x in (n, tokens, loss))
        text = seen if unique is None else np.asarray(unique, dtype=np.float64)
        text = np.minimum(seen, text)
        _, cell = np.unique(np.stack([sizes, seen, text]), axis=1, return_inverse=True)
        return cls(sizes, seen, text, losses, cell.reshape(-1))

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, rows: Mask | NDArray[np.intp]) -> "Points":
        """Some of the rows."""
        return Points(
            n=self.n[rows],
            tokens=self.tokens[rows],
            unique=self.unique[rows],
            loss=self.loss[rows],
            cell=self.cell[rows],
        )

    def with_loss(self, loss: Array) -> "Points":
        """The same rows with other losses."""
        return replace(self, loss=loss)

    @cached_property
    def log_n(self) -> Array:
        return np.log(self.n)

    @cached_property
    def log_tokens(self) -> Array:
        return np.log(self.tokens)

    @cached_property
    def log_unique(self) -> Array:
        return np.log(self.unique)

    @cached_property
    def epochs(self) -> Array:
        """How often each token was seen, at least 1."""
        return self.tokens / self.unique
