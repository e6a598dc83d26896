"""The end of a run: what it came to, with what counting reaches, in summary and dashboards."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from gptexp.analysis import cliff, ngrams
from gptexp.config import Config, to_dict
from gptexp.data.corpus import Corpus, Splits
from gptexp.experiment.prepare import Inputs
from gptexp.files import read_json
from gptexp.inference.evaluation import Evaluation
from gptexp.inference.probe import Probe
from gptexp.models.counts import count_parameters, flops_per_token, without_tables
from gptexp.runs.directory import code_digest
from gptexp.runs.journal import Sample, read_journal
from gptexp.runs.summary import scalars
from gptexp.tracking.dashboard import FinalResult
from gptexp.tracking.tracker import Tracker


def build_summary(
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
    fall = cliff.measure(cliff.curve_points(evaluations))
    counts = count_parameters(config.model, vocab_size)
    return {
        "run": folder.name,
        "config": to_dict(config),
        "config_hash": manifest.get("config_hash"),
        "data_sha256": manifest.get("data", {}).get("sha256"),
        "code": code_digest(manifest),
        "params": {
            "total": sum(counts.values()),
            "non_embedding": without_tables(counts),
        },
        "steps": final["step"],
        "tokens": final["tokens"],
        "epochs": final["epoch"],
        "flops": flops_per_token(config.model, vocab_size) * final["tokens"],
        "seconds": final["seconds"],
        "stop_reason": stop_reason,
        "best": None if best is None else _evaluation(best, weights["best"]),
        "final": _evaluation(final, weights["final"]),
        "cliff": None if fall is None else fall.to_dict(),
        "test": None if test is None else {"loss": finite(test.loss), "bpb": finite(test.bpb)},
        "ngrams": ngrams,
        "sample": sample.prompt + sample.text,
    }


def finite(value: float) -> float | None:
    """NaN and infinities as null, for JSON."""
    return value if math.isfinite(value) else None


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


MOST = 20_000_000  # tokens that are counted in passing: some ten seconds and a gigabyte

_KNOWN: dict[tuple[bytes, int, int | None], list[float]] = {}  # by what was counted


def conclude(
    config: Config,
    folder: Path,
    inputs: Inputs,
    tracked: Tracker,
    *,
    stop_reason: str,
    best_step: int,
    weights: dict[str, str],
    test: Evaluation | None,
    drawn: tuple[Sample, Probe],
    best_file: Path | None,
) -> dict[str, Any]:
    """The summary of the run in `folder`, told to its dashboards too.

    `weights` holds the digests of best and final; of the best ones are `test`, the loss of the test
    split if there is one, and `drawn`, a sample.
    """
    vocab_size = inputs.tokenizer.vocab_size
    result = build_summary(
        folder,
        config=config,
        vocab_size=vocab_size,
        stop_reason=stop_reason,
        best_step=best_step,
        weights=weights,
        test=test,
        ngrams=counted(config.tokenizer.name, inputs.splits, inputs.corpus, vocab_size),
        sample=drawn[0],
    )
    tracked.final(FinalResult(result["steps"], scalars(result), *drawn, best_file))
    return result


def counted(tokenizer: str, splits: Splits, corpus: Corpus, vocab_size: int) -> list[float] | None:
    """ngrams.losses of the corpus' validation targets; of equal splits once in a process.

    As the seeds of a sweep have them. None for a `tokenizer` without one of ngrams.UNITS, whose
    tokens have no length that people know, and for a text too large to be counted in passing.
    """
    if tokenizer not in ngrams.UNITS or len(splits.train) + len(splits.val) > MOST:
        return None
    judged = corpus.judged("val")
    digest = hashlib.sha256(len(splits.train).to_bytes(8, "little"))
    for part in (splits.train, splits.val, judged):
        digest.update(np.ascontiguousarray(part).data)
    key = (digest.digest(), vocab_size, corpus.boundary)
    if key not in _KNOWN:
        _KNOWN[key] = ngrams.losses(
            splits.train, splits.val, vocab_size, boundary=corpus.boundary, judged=judged
        )
    return _KNOWN[key]
