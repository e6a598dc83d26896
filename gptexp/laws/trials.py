"""Runs of one size and data with several learning rates: as columns, and the best of them."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptexp.analysis.scale import is_number
from gptexp.laws.candidates import Candidate
from gptexp.laws.observed import AT_EDGE, Observations, Rejected, Trials
from gptexp.laws.points import Array, Points
from gptexp.laws.tuning import SETTINGS, uncertified
from gptexp.laws.valley import Labels, members, nearly_one

BATCH = ("trainer.batch_size", "trainer.grad_accum", "model.block_size")  # their product, in tokens


def trials_of(candidates: Sequence[Candidate]) -> Trials | None:
    """The runs that have a learning rate; None where no two of them differ."""
    rated = [one for one in candidates if is_number(one.run.config.get("optim.lr"))]
    lr = np.array([one.run.config["optim.lr"] for one in rated], dtype=np.float64)
    if len(np.unique(lr)) < 2 or lr.min() <= 0:
        return None
    points = Points.of(
        n=[one.n for one in rated],
        tokens=[one.tokens for one in rated],
        loss=[one.loss for one in rated],
        unique=[one.unique for one in rated],
    )
    sizes = [[_positive(one.run.config.get(key)) for key in BATCH] for one in rated]
    batch = np.prod(np.array(sizes, dtype=np.float64), axis=1)
    keys = [key for key in SETTINGS if key not in ("optim.lr", *BATCH)]
    return Trials(
        points=replace(points, cell=numbered([one.cell for one in rated])),
        lr=lr,
        batch=batch if len(np.unique(batch)) > 1 else None,
        setting=numbered([tuple(one.run.config.get(key) for key in keys) for one in rated]),
    )


def _positive(value: Any) -> float:
    """The value of a config; 1 for what is no number above 0."""
    return float(value) if is_number(value) and value > 0 else 1.0


def beside(trials: Trials, values: Array | None) -> Labels:
    """The number of each combination of `values`, of the rows, with what else was varied [row]."""
    labels = [np.zeros(len(trials.lr), np.intp) if values is None else nearly_one(values)]
    labels += [] if trials.setting is None else [trials.setting]
    return np.unique(np.stack(labels), axis=1, return_inverse=True)[1].reshape(-1)


def best_rows(observed: Observations, trials: Trials, keep_edges: bool = False) -> Observations:
    """The best rows of each cell of a table, by the rules of tuning.tuned for the learning rate."""
    rate = nearly_one(trials.lr)
    kinds = beside(replace(trials, setting=rate), trials.batch)
    kept: list[int] = []
    rejected: list[Rejected] = []
    untried = []  # the learning rate of cells with one
    for rows in members(trials.points.cell):
        best = _best(rows, kinds, trials.points.loss)
        loss, words = trials.points.loss[best].mean(), f"lr={trials.lr[best[0]]:.3g}"
        worse = f"not the best of its point: {words} reaches {loss:.4f}"
        rejected += [Rejected(observed.labels[i], worse) for i in np.setdiff1d(rows, best)]
        tried = np.unique(rate[rows])
        is_edge = rate[best[0]] in (tried[0], tried[-1])
        if is_edge and len(tried) > 1 and not keep_edges:
            end = "lowest" if rate[best[0]] == tried[0] else "highest"
            reason = f"{AT_EDGE}: {words} is the {end}"
            rejected += [Rejected(observed.labels[i], reason) for i in best]
            continue
        kept += best.tolist()
        untried += [words] if is_edge else []
    chosen = np.array(sorted(kept), dtype=np.intp)
    return replace(
        observed,
        points=observed.points.take(chosen),
        labels=[observed.labels[i] for i in chosen],
        rejected=observed.rejected.plus(rejected),
        notes=observed.notes + uncertified(untried, len(np.unique(observed.points.cell[chosen]))),
        flops=None if observed.flops is None else observed.flops[chosen],
        trials=trials,
    )


def _best(rows: NDArray[np.intp], kinds: Labels, losses: Array) -> NDArray[np.intp]:
    """Those of the rows whose kind has the lowest mean loss."""
    kind = np.unique(kinds[rows], return_inverse=True)[1]
    means = np.bincount(kind, losses[rows]) / np.bincount(kind)
    return rows[kind == means.argmin()]


def numbered(values: Sequence[Hashable]) -> Labels:
    """The number of each value, by the order in which they come [row]."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], dtype=np.intp)
