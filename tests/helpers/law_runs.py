"""Run directories written by hand whose losses follow a law."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from run_directories import write_run

from gptexp.laws.forms import LAWS
from gptexp.laws.points import Points

BPB = 0.4  # bits per byte, of a nat per token

# Exponents and coefficients that a small grid tells.
CHINCHILLA = {"E": 1.7, "A": 20.0, "B": 40.0, "alpha": 0.35, "beta": 0.3}
BEST_SIZE = CHINCHILLA["beta"] / (CHINCHILLA["alpha"] + CHINCHILLA["beta"])  # exponent of compute


def loss_of(n: float, tokens: float) -> float:
    """The loss by Chinchilla's law."""
    return float(LAWS["chinchilla"].loss(CHINCHILLA, Points.of([n], [tokens], [1.0]))[0])


def write_point(
    folder: Path,
    n: int = 50_000,
    tokens: float = 100_000,
    loss: float | None = 2.0,
    *,
    unique: float = 50_000,
    best: tuple[float, float] | None = None,  # loss and tokens; left out, that of the end
    stop_reason: str = "all steps are done",
    **given: Any,  # see write_run
) -> Path:
    """A run of `n` parameters, 10,000 of them in tables, that saw `tokens` of `unique`."""
    keys = {"model__n_embd": n // 1000, "trainer__max_steps": int(tokens) // 100}
    run = write_run(folder, best=2.0, params=n, **keys | given)
    if not (run / "summary.json").exists():
        return run
    summary = json.loads((run / "summary.json").read_text())

    def judged(value: float | None, seen: float) -> dict[str, Any]:
        bits = None if value is None else BPB * value
        epochs = seen / unique
        return {"val_loss": value, "val_bpb": bits, "tokens": seen, "epochs": epochs}

    at_best = best or (loss, tokens)
    parts = {
        "params": {"total": n, "non_embedding": n - 10_000},
        "tokens": tokens,
        "epochs": tokens / unique,
        "flops": 7 * n * tokens,
        "stop_reason": stop_reason,
        "best": None if loss is None else summary["best"] | judged(*at_best),
        "final": summary["final"] | judged(loss, tokens),
    }
    (run / "summary.json").write_text(json.dumps(summary | parts))
    return run


def write_grid(
    folder: Path,
    sizes: tuple[int, ...] = (20_000, 40_000, 80_000, 160_000),
    lengths: tuple[int, ...] = (100_000, 200_000, 400_000, 800_000),
    noise: float = 0.002,
    **given: Any,
) -> Path:
    """A run for each size and length, of Chinchilla's law and some noise."""
    random = np.random.default_rng(0)
    for n in sizes:
        for tokens in lengths:
            loss = loss_of(n, tokens) * float(np.exp(noise * random.normal()))
            write_point(folder, n, tokens, loss, unique=1_000_000, **given)
    return folder


def write_budgets(folder: Path, costs: tuple[float, ...] = (1e12, 1e13, 1e14)) -> Path:
    """Five sizes about the best of each cost in FLOPs."""
    for cost in costs:
        for share in np.geomspace(0.2, 5, 5):
            n = int(share * 0.9 * (cost / 7) ** BEST_SIZE)
            tokens = int(cost / (7 * n))
            keys = {"model__n_embd": n, "trainer__max_steps": tokens}
            write_point(folder, n, tokens, loss_of(n, tokens), unique=1e12, **keys)
    return folder


def write_rates(folder: Path) -> Path:
    """Runs of three sizes and lengths, each with learning rates about lr = 30 N^-0.8 T^0.2."""
    for n in (20_000, 40_000, 80_000):
        for tokens in (100_000, 200_000, 400_000):
            best = 30 * n**-0.8 * tokens**0.2
            for rate in best * 1.1 * np.array([0.3, 1, 3, 10]):
                loss = loss_of(n, tokens) + 0.02 * np.log(rate / best) ** 2
                keys = {"model__n_embd": n // 1000, "trainer__max_steps": tokens // 100}
                write_point(folder, n, tokens, loss, unique=1e6, optim__lr=float(rate), **keys)
    return folder
