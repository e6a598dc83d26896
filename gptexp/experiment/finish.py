"""The end of a run: what it came to, with what counting reaches, in summary and dashboards."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gptexp.analysis import cliff, ngrams
from gptexp.analysis.cliff import Cliff
from gptexp.config import AVERAGES, UNITS, Config, to_dict
from gptexp.data.corpus import Ids
from gptexp.data.load import LoadedCorpus, LoadedMix
from gptexp.errors import Problem, StorageError
from gptexp.inference.evaluation import Evaluation
from gptexp.inference.probe import Probe
from gptexp.models.counts import count_parameters, flops_per_token, without_tables
from gptexp.plugins import is_own
from gptexp.runs.directory import code_digest
from gptexp.runs.journal import Sample, evaluations, lowest
from gptexp.runs.schema import Averaged, Averages, Fall, Judged, Part, Summary, read_manifest
from gptexp.runs.seal import journal_digests, sealed
from gptexp.runs.summary import scalars
from gptexp.tracking.dashboard import FinalResult
from gptexp.tracking.tracker import Tracker

MOST_COUNTED = 20_000_000  # tokens that are counted in passing: some ten seconds and a gigabyte

# The last evaluation of a model that was imported without a text, beside its step.
UNJUDGED: dict[str, Any] = {
    **dict.fromkeys(("tokens", "epoch", "seconds"), 0),
    **dict.fromkeys(("val/loss", "val/bpb", "train/eval_loss"), math.nan),
}

CURVES = {  # of an evaluation, by their names in a summary
    "val_loss": "val/loss",
    "val_bpb": "val/bpb",
    "train_loss": "train/eval_loss",
    "val_accuracy": "val/accuracy",  # of conversations
}

_KNOWN: dict[tuple[bytes, int, int | None], list[float]] = {}  # by what was counted


@dataclass(frozen=True)
class Exact:
    """Evaluations over all targets, of a run whose others are capped; as lines of metrics.jsonl."""

    best: dict[str, float]
    final: dict[str, float]
    targets: int  # of validation, that each capped one judged


@dataclass(frozen=True)
class TrainingResult:
    """The end of a training, or of an import, to be summed up."""

    stop_reason: str
    best_step: int  # of the lowest validation loss; -1 where none was finite
    best_weights: str  # digest of the weights of best_step
    final_weights: str  # digest of the last ones
    test: Evaluation | None  # of the best weights, where there is a test split
    sample: Sample  # from the best weights
    probe: Probe  # how they read it
    best_file: Path | None  # their checkpoint
    exact: Exact | None = None  # where the journal has capped evaluations


def finish(
    config: Config, folder: Path, text: LoadedCorpus, tracker: Tracker, result: TrainingResult
) -> Summary:
    """The summary of the run in `folder`, told to its dashboards too, over its whole journals."""
    counted = count_ngrams(config.tokenizer.name, text)
    summary = build_summary(config, folder, text, result, counted)
    tracker.final(
        FinalResult(
            summary["steps"], scalars(summary), result.sample, result.probe, result.best_file
        )
    )
    return cast(Summary, sealed({**summary, "files": journal_digests(folder)}))


def build_summary(
    config: Config,
    folder: Path,
    text: LoadedCorpus,
    result: TrainingResult,
    ngram_losses: list[float] | None,
) -> Summary:
    """The content of summary.json, from the evaluations in metrics.jsonl; raises StorageError.

    `ngram_losses` are what counting reaches on the same splits, see ngrams.losses. Without a text
    there is no best, and the losses of the end are not known. The summary
    repeats what tells one run from another, so that a table of many opens one file of each.
    """
    manifest = read_manifest(folder)
    final, best, fall = {**UNJUDGED, "step": result.best_step}, None, None
    if config.data.has_text:
        final, best, fall = read_evaluations(folder, result.best_step)
    exact = result.exact
    if exact is not None and fall is not None:
        fall = _exactly(fall, exact)
    vocab_size, test = text.tokenizer.vocab_size, result.test
    counts = count_parameters(config.model, vocab_size)
    summary: Summary = {
        "run": folder.name,
        "config": to_dict(config),
        "config_hash": manifest.get("config_hash"),
        "data_sha256": manifest.get("data", {}).get("sha256"),
        "code": code_digest(manifest),
        "params": {"total": sum(counts.values()), "non_embedding": without_tables(counts)},
        "steps": final["step"],
        "tokens": final["tokens"],
        "epochs": final["epoch"],
        "flops": flops_per_token(config.model, vocab_size) * final["tokens"],
        "seconds": final["seconds"],
        "stop_reason": result.stop_reason,
        "best": None if best is None else _evaluation(best, result.best_weights, exact, "best"),
        "final": _evaluation(final, result.final_weights, exact, "final"),
        "cliff": None if fall is None else cast(Fall, fall.to_dict()),
        "test": None if test is None else _judged(test),
        "ngrams": ngram_losses,
        "sample": result.sample.prompt + result.sample.text,
    }
    if (averages := _averages(folder, best)) is not None:
        summary["averages"] = averages
    if ngram_losses is not None and text.counted is not None:
        summary["ngrams_of"] = text.counted
    if "branched" in manifest:
        summary["branched"] = manifest["branched"]
    return summary


def read_evaluations(
    run: Path, best_step: int
) -> tuple[dict[str, Any], dict[str, Any] | None, Cliff | None]:
    """The last evaluation of a run, that of `best_step` if there is one, and the cliff of all.

    Raises StorageError where there is none.
    """
    final: dict[str, Any] = {}
    best = None

    def seen() -> Iterator[dict[str, Any]]:
        nonlocal final, best
        for final in evaluations(run):
            best = final if final["step"] == best_step else best
            yield final

    fall = cliff.measure(cliff.each_point(seen()))
    if not final:
        what, fix = "holds no evaluation any more", "train the run anew, rerun=true"
        raise StorageError(Problem(run / "metrics.jsonl", what, fix))
    return final, best, fall


def _averages(run: Path, best: dict[str, Any] | None) -> Averages | None:
    """What the averages of the weights came to, beside the `best` evaluation of the weights.

    On equal terms: where evaluations are capped, both are of the same targets.
    """
    losses: dict[str, float] = {} if best is None else {"raw": best["val/loss"]}
    parts: dict[str, Averaged] = {}
    for kind in AVERAGES:
        if (row := lowest(evaluations(run), curve := f"val/{kind}_loss")) is not None:
            parts[kind] = {"step": row["step"], "val_loss": row[curve]}
            losses[kind] = row[curve]
    if not parts:
        return None
    return cast(Averages, {"better": min(losses, key=lambda kind: losses[kind]), **parts})


def count_ngrams(tokenizer_name: str, text: LoadedCorpus) -> list[float] | None:
    """ngrams.losses of the validation targets; of equal splits once in a process.

    The seeds of a sweep have equal splits. None for a mix, for a tokenizer without one of UNITS,
    whose tokens have no length that people know, and for no text, or one too large to be counted in
    passing.
    """
    if text.counted is not None:
        splits, first = text.splits, slice(text.counted)
        text = replace(
            text, splits=replace(splits, train=splits.train[first], val=splits.val[first])
        )
    tokenizer, sizes = text.tokenizer, [len(text.splits.train), len(text.splits.val)]
    is_mix = isinstance(text, LoadedMix)  # whose counts would need its shares
    if is_mix or tokenizer_name not in UNITS or not 0 < sum(sizes) <= MOST_COUNTED:
        return None
    train, val, end, target_mask = countable(text)
    digest = hashlib.sha256(len(train).to_bytes(8, "little"))
    for part in (train, val, target_mask):
        digest.update(np.ascontiguousarray(part).data)
    key = (digest.digest(), tokenizer.vocab_size, end)
    if key not in _KNOWN:
        _KNOWN[key] = ngrams.losses(
            train, val, tokenizer.vocab_size, boundary=end, target_mask=target_mask
        )
    return _KNOWN[key]


def countable(text: LoadedCorpus) -> tuple[Ids, Ids, int | None, NDArray[np.bool_]]:
    """What ngrams takes of a text: both splits, the boundary, and which of `val` are targets."""
    train, val = (part.astype(np.int64) for part in (text.splits.train, text.splits.val))
    target_mask = text.format.target_mask(val, text.tokenizer, text.block_size)
    return train, val, text.format.end(text.tokenizer), target_mask


def _judged(test: Evaluation) -> Judged:
    metrics = test.metrics
    judged: Judged = {"loss": _finite(test.loss), "bpb": _finite(test.bpb)}
    if "accuracy" in metrics:
        judged["accuracy"] = metrics["accuracy"]
    return judged


def _finite(value: float | None) -> float | None:
    """NaN and infinities as null, for JSON."""
    return value if value is not None and math.isfinite(value) else None


def _exactly(fall: Cliff, exact: Exact) -> Cliff:
    """A cliff with the height and gap of all targets; its place is that of the capped curve."""
    best, end = exact.best["val/loss"], exact.final["val/loss"]
    height, gap = end - best, best - exact.best["train/eval_loss"]
    return replace(fall, height=height, gap=gap) if math.isfinite(height + gap) else fall


def _evaluation(
    row: dict[str, Any],
    weights_sha256: str,
    exact: Exact | None,
    part: Literal["best", "final"],
) -> Any:  # a Best or a Final
    own = {name: row[name] for name in row if "/" in name and not is_own(name)}
    judged = row if exact is None else getattr(exact, part)
    parts = _parts(row, judged)
    return {
        "step": row["step"],
        **_losses(judged),
        "tokens": row["tokens"],
        "epochs": row["epoch"],
        "weights_sha256": weights_sha256,
        **({} if exact is None else {"capped": {"targets": exact.targets, **_losses(row)}}),
        **({"own": own} if own else {}),
        **({"parts": parts} if parts else {}),
    }


def _parts(row: dict[str, Any], judged: dict[str, Any]) -> dict[str, Part]:
    """The loss of each part of a mix, and how often the run had been through it."""
    return {
        name.removeprefix("val/loss/"): {
            "loss": _finite(judged[name]),
            "epochs": row.get(name.replace("val/loss", "epoch", 1), 0.0),
        }
        for name in row
        if name.startswith("val/loss/")
    }


def _losses(row: dict[str, Any]) -> dict[str, float | None]:
    return {name: _finite(row[curve]) for name, curve in CURVES.items() if curve in row}
