"""summary.json, written last: what a finished run came to; and the last lines on the screen."""

import logging
import math
from pathlib import Path
from typing import Any

from gptexp import cliff, networks
from gptexp.config import Config, to_dict
from gptexp.console import duration
from gptexp.evaluation import Evaluation
from gptexp.files import read_json
from gptexp.journal import Sample, read_journal
from gptexp.ngrams import UNITS
from gptexp.rundir import code_digest

log = logging.getLogger(__name__)


def build(
    folder: Path,
    *,
    config: Config,
    vocab_size: int,
    stop_reason: str,
    best_step: int,
    weights: dict[str, str],
    test: Evaluation | None,
    ngrams: list[float] | None,
    sample: Sample,
) -> dict[str, Any]:
    """From the evaluations in metrics.jsonl; `weights` holds the digests of best and final.

    `ngrams`: what counting reaches on the same splits, see ngrams.losses.

    It repeats what tells one run from another, so that a table of many opens one file of each.
    """
    manifest = read_json(folder / "manifest.json") or {}
    evaluations = [row for row in read_journal(folder / "metrics.jsonl") if "val/loss" in row]
    final = evaluations[-1]
    best = next((row for row in evaluations if row["step"] == best_step), None)
    fall = cliff.measure(cliff.points(evaluations))
    counts = networks.count_parameters(config.model, vocab_size)
    return {
        "run": folder.name,
        "config": to_dict(config),
        "config_hash": manifest.get("config_hash"),
        "data_sha256": manifest.get("data", {}).get("sha256"),
        "code": code_digest(manifest),
        "params": {
            "total": sum(counts.values()),
            "non_embedding": networks.without_tables(counts),
        },
        "steps": final["step"],
        "tokens": final["tokens"],
        "epochs": final["epoch"],
        "flops": networks.flops_per_token(config.model, vocab_size) * final["tokens"],
        "seconds": final["seconds"],
        "stop_reason": stop_reason,
        "best": None if best is None else _evaluation(best, weights["best"]),
        "final": _evaluation(final, weights["final"]),
        "cliff": None if fall is None else fall.to_dict(),
        "test": None if test is None else {"loss": finite(test.loss), "bpb": finite(test.bpb)},
        "ngrams": ngrams,
        "sample": sample.prompt + sample.text,
    }


def scalars(summary: dict[str, Any]) -> dict[str, float]:
    """The summary as points for dashboards, `final/...`; what there is not is left out."""
    best, final, fall = summary["best"] or {}, summary["final"], summary["cliff"] or {}
    values = {
        "best_val_loss": best.get("val_loss"),
        "best_val_bpb": best.get("val_bpb"),
        "best_step": best.get("step"),
        "best_tokens": best.get("tokens"),
        "best_epochs": best.get("epochs"),
        "val_loss": final["val_loss"],
        "train_loss": final["train_loss"],
        "cliff_onset_step": (fall.get("onset") or {}).get("step"),
        "cliff_height": fall.get("height"),
        "cliff_slope": fall.get("slope"),
        "gap_at_best": fall.get("gap"),
        "test_loss": (summary["test"] or {}).get("loss"),
        "params": summary["params"]["total"],
        "params_non_embedding": summary["params"]["non_embedding"],
        "flops": summary["flops"],
        "seconds": summary["seconds"],
    }
    return {f"final/{name}": float(value) for name, value in values.items() if value is not None}


def show(summary: dict[str, Any], folder: Path) -> None:
    """What came out, where it is, and what to type next."""
    best, final = summary["best"], summary["final"]
    log.info("")
    log.info("done at step %s: %s", f"{final['step']:,}", summary["stop_reason"])
    if best is not None:
        log.info(
            "best    %.4f nats per token (%.3f bits per byte) at step %s, after %.2f epochs",
            best["val_loss"],
            best["val_bpb"],
            f"{best['step']:,}",
            best["epochs"],
        )
    log.info(
        "final   %.4f at step %s; training text %.4f; %s in all",
        _number(final["val_loss"]),
        f"{final['step']:,}",
        _number(final["train_loss"]),
        duration(summary["seconds"]),
    )
    if summary.get("ngrams"):  # a run of an earlier gptexp has none
        log.info("n-grams %s", describe_ngrams(summary["ngrams"], summary["config"]))
    if summary["cliff"] is not None:
        log.info("cliff   %s", describe_cliff(summary["cliff"]))
    if summary["test"] is not None:
        loss, bpb = _number(summary["test"]["loss"]), _number(summary["test"]["bpb"])
        log.info("test    %.4f (%.3f bits per byte)", loss, bpb)
    log.info("sample  from the best weights")
    for line in summary["sample"].strip("\n").split("\n"):
        log.info("    %s", line)
    log.info("run     %s", folder)
    log.info("next    gptexp sample %s --num 3 --temperature 0.8", folder)
    if any(folder.glob("events.out.tfevents.*")):
        log.info("        tensorboard --logdir %s", folder.parents[1])


def describe_cliff(fall: dict[str, Any]) -> str:
    """The cliff of a summary in one line."""
    gap = f"validation is {fall['gap']:.4f} above training at the best"
    match fall["verdict"]:
        case "cliff":
            onset = fall["onset"]
            return (
                f"from step {onset['step']:,}, epoch {onset['epochs']:.2f}; "
                f"{fall['height']:.4f} higher at the end, {fall['slope']:+.4f} an epoch; {gap}"
            )
        case "none":
            return f"none; {gap}"
    return f"too early to tell; {gap}"


def describe_ngrams(losses: list[float], config: dict[str, Any]) -> str:
    """Such as `3.3473, 2.4857 by counting 1, 2 characters`."""
    orders = ", ".join(str(order) for order in range(1, len(losses) + 1))
    shown = ", ".join(f"{loss:.4f}" for loss in losses)
    return f"{shown} by counting {orders} {UNITS[config['tokenizer']['name']]}"


def best_val_loss(summary: dict[str, Any]) -> float | None:
    return None if summary["best"] is None else summary["best"]["val_loss"]


def finite(value: float) -> float | None:
    """NaN and infinities as null, for JSON."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    """NaN, which JSON writes as null, back again."""
    return math.nan if value is None else value


def _evaluation(row: dict[str, Any], weights_sha256: str) -> dict[str, Any]:
    return {
        "step": row["step"],
        "val_loss": row["val/loss"],
        "val_bpb": row["val/bpb"],
        "train_loss": row["train/eval_loss"],
        "tokens": row["tokens"],
        "epochs": row["epoch"],
        "weights_sha256": weights_sha256,
    }
