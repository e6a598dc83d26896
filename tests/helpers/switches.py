"""The switches of the GPT, and combinations in which any two of their choices occur together."""

from typing import Any

from covering import pairwise

from gptexp.config import Activation, Norm, Position

SWITCHES = {
    "position": list(Position),
    "norm": list(Norm),
    "norm_gain": [True, False],
    "norm_eps": [1e-5, 1e-2],
    "activation": list(Activation),
    "n_kv_head": [None, 2, 1],
    "window": [[], [5], [3, 0]],
    "qk_norm": [False, True],
    "zero_init": [False, True],
    "bias": [True, False],
    "tie_head": [True, False],
    "embd_norm": [False, True],
    "final_norm": [True, False],
    "dropout": [0.0, 0.2],
    "mlp_width": [None, 24],
    "scale_residuals": [True, False],
}
COMBINATIONS = pairwise(SWITCHES)


def words(combination: dict) -> str:
    """What differs from the first choice of each switch."""
    changed = {k: getattr(v, "value", v) for k, v in combination.items() if v != SWITCHES[k][0]}
    return " ".join(f"{key}={value}".replace(" ", "") for key, value in changed.items()) or "none"


def overrides(combination: dict[str, Any]) -> list[str]:
    """The combination as a command has it."""
    plain = {key: getattr(value, "value", value) for key, value in combination.items()}
    return [f"model.{key}={'null' if value is None else value}" for key, value in plain.items()]
