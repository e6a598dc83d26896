"""What losses are told in: nats per token, or bits per byte where runs have other tokens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gptexp.analysis.cliff import CurvePoint
from gptexp.analysis.records import Run
from gptexp.config.identity import judged_by
from gptexp.runs.journal import evaluations

NATS, BITS = "nats per token", "bits per byte"


def vocabulary(run: Run) -> tuple[Any, Any]:
    """What tells the tokens of a run from those of others on its text."""
    return run.config.get("tokenizer.name"), run.config.get("tokenizer.vocab_size")


def unit(runs: Sequence[Run]) -> str:
    """NATS, or BITS where the runs' tokens differ: a loss per token then compares nothing."""
    return NATS if len(set(map(vocabulary, runs))) < 2 else BITS


def mixed_tokens(runs: Sequence[Run]) -> list[str]:
    """A note where the runs' tokens differ; else none."""
    if unit(runs) == NATS:
        return []
    kinds = sorted({" ".join(str(p) for p in vocabulary(r) if p is not None) for r in runs})
    return [
        f"several tokenizers ({', '.join(kinds)}): best, val, final, height and test are {NATS}, "
        f"and compare within one of them alone; bpb, the best in {BITS}, compares them all"
    ]


def judged_apart(runs: Sequence[Run]) -> list[str]:
    """A note for each way in which runs on one text are judged otherwise than each other."""
    on_text: dict[str | None, list[dict[str, Any]]] = {}
    for run in runs:
        on_text.setdefault(run.data_sha256, []).append(judged_by(run.config))
    keys = [
        key
        for key in judged_by({})
        if any(one[key] != same[0][key] for same in on_text.values() for one in same)
    ]
    return [
        "several shares of a mix: losses are means of the parts by each run's own, and compare at "
        "equal shares alone; val/loss/PART, of each part, compares them all"
        if key == "data.parts"
        else f"several values of {key}: losses are over other tokens, and compare at one alone"
        for key in keys
    ]


def in_bits(run: Run) -> Run:
    """A run whose losses are in bits per byte; those of a run that is not done are none."""
    if run.summary is None:
        return run
    end, test = run.summary["final"]["val_bpb"], run.summary["test"]
    height = None if run.bpb is None or end is None else end - run.bpb
    return replace(
        run,
        best=run.bpb,
        final=end,
        height=None if run.height is None else height,
        test=test["bpb"] if test else None,
    )


def curve_in_bits(run: Run, curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """The curve of a run in bits per byte, by the bytes that its validation tokens have.

    The training losses too, whose tokens have nearly as many; empty for a journal without any
    bits. Raises StorageError.
    """
    losses = ((row.get("val/bpb"), row.get("val/loss")) for row in evaluations(run.path))
    rate = next((bits / nats for bits, nats in losses if bits and nats), None)
    if rate is None:
        return []
    return [
        replace(
            point,
            val_loss=rate * point.val_loss,
            train_loss=rate * point.train_loss,
            stderr=rate * point.stderr,
        )
        for point in curve
    ]
