"""Points of laws: tables that were published, and grids made by a law that is known."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gptexp.laws.forms import LAWS
from gptexp.laws.points import Points

TABLES = Path(__file__).parents[1] / "laws" / "tables"

KNOWN = {  # parameters of each law, of an order that was published
    "chinchilla": {"E": 1.8, "A": 480, "B": 2100, "alpha": 0.35, "beta": 0.37},
    "overtrained": {"E": 1.8, "A": 480, "B": 1700, "eta": 0.36},
    "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
    "data_constrained": {
        "E": 1.87,
        "A": 520,
        "B": 1490,
        "alpha": 0.353,
        "beta": 0.353,
        "R_D_star": 15.4,
        "R_N_star": 5.3,
    },
    "overfitting": {
        "E": 2.0,
        "A": 500,
        "B": 21000,
        "P": 0.05,
        "alpha": 0.34,
        "beta": 0.47,
        "delta": 0.5,
        "kappa": 0.7,
    },
    "bounded": {
        "E": 1.5,
        "L0": 8.0,
        "a": 100,
        "b": 3000,
        "c": 0.03,
        "alpha": 0.35,
        "beta": 0.45,
        "gamma": 0.4,
        "delta": 0.3,
    },
}


def grid(
    name: str,
    noise: float = 0.0,
    seeds: int = 1,
    sizes: int = 5,
    texts: int = 5,
    epochs: tuple[float, ...] = (1.0,),
    misfit: float = 0.0,
    seed: int = 0,
) -> Points:
    """Models of some sizes on texts of some lengths for so many epochs, with losses by a law.

    `noise` is what seeds change, `misfit` what a cell is off the law by, as shares of the loss.
    """
    n, unique, repeats = np.meshgrid(
        np.logspace(6, 9, sizes), np.logspace(8, 11, texts), np.array(epochs)
    )
    columns = [np.repeat(x.ravel(), seeds) for x in (n, unique * repeats, unique)]
    points = Points.of(columns[0], columns[1], np.ones(len(columns[0])), columns[2])
    random = np.random.default_rng(seed)
    off = noise * random.standard_normal(len(points))
    off += (misfit * random.standard_normal(points.cells))[points.cell]
    return replace(points, loss=LAWS[name].loss(KNOWN[name], points) * np.exp(off))


def table(path: Path, n: str, tokens: str, loss: str, unique: str | None = None) -> Points:
    """Some columns of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [n, tokens, loss] + ([unique] if unique else [])
    return Points.of(*([float(row[name]) for row in rows] for name in names))


def datablations() -> Points:
    """182 models that saw their texts up to 1,500 times: see tables/README.md."""
    path = TABLES / "datablations_182.csv"
    return table(path, "params", "tokens_seen", "val_loss", "unique_tokens")


def published(name: str) -> Path:
    """A table without a licence, from the folder that GPTEXP_LAWS_DIR names; skips without it."""
    folder = os.environ.get("GPTEXP_LAWS_DIR")
    if not folder:
        pytest.skip("GPTEXP_LAWS_DIR names no folder of published tables")
    return Path(folder) / name


def chinchilla_240() -> Points:
    """The 240 models of Hoffmann et al. 2022 that Besiroglu et al. 2024 fitted."""
    return table(published("chinchilla_240.csv"), "n", "d", "loss")
