"""The end of a run: what it came to, with what counting reaches, in summary and dashboards."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from gptexp import ngrams, summary
from gptexp.config import Config
from gptexp.corpus import Corpus, Splits
from gptexp.evaluation import Evaluation
from gptexp.insight import Insight
from gptexp.journal import Sample
from gptexp.mirrors import Final
from gptexp.preflight import Inputs
from gptexp.tracking import Tracking

MOST = 20_000_000  # tokens that are counted in passing: some ten seconds and a gigabyte

_KNOWN: dict[tuple[bytes, int, int | None], list[float]] = {}  # by what was counted


def conclude(
    config: Config,
    folder: Path,
    inputs: Inputs,
    tracked: Tracking,
    *,
    stop_reason: str,
    best_step: int,
    weights: dict[str, str],
    test: Evaluation | None,
    drawn: tuple[Sample, Insight],
    best_file: Path | None,
) -> dict[str, Any]:
    """The summary of the run in `folder`, told to its dashboards too.

    `weights` holds the digests of best and final; of the best ones are `test`, the loss of the test
    split if there is one, and `drawn`, a sample.
    """
    vocab_size = inputs.tokenizer.vocab_size
    result = summary.build(
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
    tracked.final(Final(result["steps"], summary.scalars(result), *drawn, best_file))
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
