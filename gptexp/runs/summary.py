"""summary.json, written last: what a finished run came to, read again."""

from collections.abc import Mapping
from typing import Any

from gptexp.runs.schema import Summary


def scalars(summary: Summary) -> dict[str, float]:
    """The summary as points for dashboards, `final/...`; what there is not is left out."""
    best: Mapping[str, Any] = summary["best"] or {}
    fall: Mapping[str, Any] = summary["cliff"] or {}
    final = summary["final"]
    values = {
        "best_val_loss": best.get("val_loss"),
        "best_val_bpb": best.get("val_bpb"),
        "best_val_accuracy": best.get("val_accuracy"),
        "best_step": best.get("step"),
        "best_tokens": best.get("tokens"),
        "best_epochs": best.get("epochs"),
        "val_loss": final["val_loss"],
        "train_loss": final["train_loss"],
        "cliff_onset_step": (fall.get("onset") or {}).get("step"),
        "cliff_height": fall.get("height"),
        "cliff_slope": fall.get("slope"),
        "gap_at_best": fall.get("gap"),
        "val_accuracy": final.get("val_accuracy"),
        "test_loss": summary["test"]["loss"] if summary["test"] else None,
        "test_accuracy": summary["test"].get("accuracy") if summary["test"] else None,
        "params": summary["params"]["total"],
        "params_non_embedding": summary["params"]["non_embedding"],
        "flops": summary["flops"],
        "seconds": summary["seconds"],
    }
    return {f"final/{name}": float(value) for name, value in values.items() if value is not None}


def is_judged(summary: Summary) -> bool:
    """Whether the run has a text: a model that was imported without one has no losses."""
    match summary:
        case {"config": {"data": {"asset": None, "path": None, **other}}}:
            return bool(other.get("parts"))
    return True


def is_chat(summary: Summary) -> bool:
    """Whether the run was trained on conversations."""
    match summary:
        case {"config": {"data": {"chat": True}}}:
            return True
    return False


def best_val_loss(summary: Summary) -> float | None:
    """The lowest validation loss, in nats per token; None where none was finite."""
    return None if summary["best"] is None else summary["best"]["val_loss"]
