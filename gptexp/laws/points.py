"""What a law is fitted to: trained models by size, tokens and loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gptexp.errors import DataError, Problem

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
ONCE = 1e-6  # repeats of a text that are none: what rounding leaves
NONE = -1e6  # in place of the logarithm of none


@dataclass(frozen=True)
class Points:
    """Trained models as columns [rows] of equal length.

    Tokens that were seen and are fewer than a text has are unique, so `unique` is `tokens` there.
    Rows with one `cell` are the same but for the seed. Those with one `run` are lengths of one
    training, so what another seed changes they share.
    """

    n: Array  # parameters
    tokens: Array  # seen in training, each as often as it was
    unique: Array  # tokens of the training text, at most `tokens`
    loss: Array  # nats per token, or bits per byte of all
    cell: NDArray[np.intp]
    run: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        n: Sequence[float] | Array,
        tokens: Sequence[float] | Array,
        loss: Sequence[float] | Array,
        unique: Sequence[float] | Array | None = None,
        run: NDArray[np.intp] | Array | None = None,
    ) -> "Points":
        """The points of plain columns; without `unique`, no token was seen twice.

        Rows with equal numbers in `run` are lengths of one; without it, each row is a run.

        Rows that are equal but for the loss are one cell. Raises DataError for a value that is no
        positive number.
        """
        given = {"n": n, "tokens": tokens, "loss": loss}
        given |= {"unique": tokens if unique is None else unique}
        columns = {name: np.asarray(x, dtype=np.float64) for name, x in given.items()}
        DataError.raise_for(_not_positive(columns))
        columns["unique"] = np.minimum(columns["unique"], columns["tokens"])
        sizes = np.stack([columns[name] for name in ("n", "tokens", "unique")])
        _, cell = np.unique(sizes, axis=1, return_inverse=True)
        runs = np.arange(len(cell)) if run is None else np.unique(run, return_inverse=True)[1]
        return cls(**columns, cell=cell.reshape(-1), run=runs)

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
            run=self.run[rows],
        )

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
    def log_loss(self) -> Array:
        return np.log(self.loss)

    @cached_property
    def epochs(self) -> Array:
        """How often each token was seen, at least 1."""
        return self.tokens / self.unique

    @cached_property
    def repeats(self) -> Array:
        """How often each token was seen again, from 0."""
        return np.where(self.epochs - 1 > ONCE, self.epochs - 1, 0.0)

    @cached_property
    def log_repeats(self) -> Array:
        """The logarithm of repeats, and NONE where there are none."""
        return np.log(self.repeats, where=self.repeats > 0, out=np.full_like(self.repeats, NONE))

    @cached_property
    def cells(self) -> int:
        """How many points differ in more than the seed."""
        return len(np.unique(self.cell))

    def distinct(self, column: str) -> int:
        """How many values a column has, zeros left out."""
        values = getattr(self, column)
        return len(np.unique(values[values > 0]))


def geometric_mean(values: Array) -> float:
    """The mean of positive numbers by their logarithms; of equal ones their own value."""
    return float(values[0] if np.ptp(values) == 0 else np.exp(np.log(values).mean()))


def _not_positive(columns: Mapping[str, Array]) -> Iterator[Problem]:
    for name, values in columns.items():
        [bad] = np.nonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            what = f"{name} of row {bad[0] + 1} is {values[bad[0]]:g}, and has to be above 0"
            yield Problem("points", what, "leave the row out")
