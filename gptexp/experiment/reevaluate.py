"""The best checkpoint of a run evaluated again as training did, and its summary built again."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from gptexp.data.corpus import is_capped, judged
from gptexp.data.load import LoadedCorpus, read_corpus, split_corpus
from gptexp.errors import CheckpointError
from gptexp.experiment.compatibility import other_shapes
from gptexp.experiment.finish import CURVES, Exact, TrainingResult, build_summary, count_ngrams
from gptexp.experiment.record import Record
from gptexp.experiment.verdict import Claim, Finding, Verdict, apart, worst
from gptexp.experiment.verify import Restored
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.generate import Sampler, build_sampler
from gptexp.inference.mixed import build_evaluator
from gptexp.models.build import construct
from gptexp.runs import checkpoint, provenance
from gptexp.runs.entries import Entry
from gptexp.runs.journal import curves
from gptexp.runs.seal import SEAL
from gptexp.runtime.device import cpu_threads
from gptexp.tokenizers.build import tokenizer_from_dict


def check_evaluation(restored: Restored, claim: Claim) -> Iterator[Finding]:
    """Evaluate the best checkpoint as training did, and build the summary again from it."""
    record, config = restored.record, restored.config
    entry = record.best or (record.entries and record.entries[max(record.entries)])
    if not entry:
        yield Finding("evaluation", "none yet, and no checkpoint")
        return
    state = checkpoint.read(record.directory.checkpoints / entry.file, entry)
    tokenizer = tokenizer_from_dict(state["tokenizer"])
    content = read_corpus(config.data, record.manifest["data"]["sha256"])
    text = split_corpus(config.data, content, tokenizer, config.model.block_size)
    if rows := other_shapes(config, state, tokenizer, "another checkpoint"):
        raise CheckpointError(*rows)
    yield _check_data(record, text)
    corpus = text.corpus(config.trainer.rows, config.seed, restored.runtime.device)
    model = construct(config.model, tokenizer.vocab_size)
    model.to(restored.runtime.device, restored.runtime.weights).eval()
    model.boundary = text.boundary
    model.load_state_dict(state["model"])
    batch_size = config.trainer.eval_batch_size
    with cpu_threads(config.trainer.threads):
        evaluator = build_evaluator(model, corpus, tokenizer, restored.runtime, batch_size)
        again = evaluator.row(config.trainer.eval_tokens)
        yield _compare_evaluation(record, entry, again, claim)
        if record.summary is not None:
            sampler = build_sampler(model, text, config.trainer, config.seed)
            yield from _compare_summary(restored, text, evaluator, sampler, claim)


def _check_data(record: Record, text: LoadedCorpus) -> Finding:
    data, tokenizer = record.manifest["data"], text.tokenizer
    if data["bounds"] != {name: list(ends) for name, ends in text.splits.bounds.items()}:
        return Finding("manifest.json", "bounds are not those of the splits", Verdict.DIFFERENT)
    if record.manifest["tokenizer"] != provenance.fingerprint(tokenizer.to_dict()):
        return Finding("manifest.json", "tokenizer is not that of the run", Verdict.DIFFERENT)
    return Finding("data", f"{text.source}: SHA-256 {data['sha256'][:12]}..., splits as they were")


def _compare_evaluation(
    record: Record, entry: Entry, again: dict[str, float], claim: Claim
) -> Finding:
    lines = [line for line in record.metrics if line["step"] == entry.step and "val/loss" in line]
    if len(lines) != 1:
        text = f"{len(lines)} evaluations of step {entry.step:,}"
        verdict = Verdict.IDENTICAL if record.best is None else Verdict.DIFFERENT
        return Finding("metrics.jsonl", text, verdict)
    stored = curves(lines[0])
    verdicts = {name: claim.judge(name, stored.get(name), again[name]) for name in again}
    verdict = worst(list(verdicts.values()))
    if verdict is Verdict.DIFFERENT:
        name = next(name for name in verdicts if verdicts[name] is verdict)
        text = f"{apart(name, stored.get(name), again[name])}, at step {entry.step:,}"
        return Finding("metrics.jsonl", text, verdict, entry.step)
    loss, bpb = stored["val/loss"], stored["val/bpb"]
    bits = "to the bit" if verdict is Verdict.IDENTICAL else "within the tolerance"
    text = f"of step {entry.step:,}, val/loss {loss!r} and val/bpb {bpb!r}: {bits}"
    return Finding("evaluation", text, verdict)


def _compare_summary(
    restored: Restored,
    text: LoadedCorpus,
    evaluator: Evaluator,
    sampler: Sampler,
    claim: Claim,
) -> Iterator[Finding]:
    """Draw the sample of the best weights again, and build summary.json from the journal."""
    record, weights = restored.record, restored.weights
    summary = record.summary or {}
    config, final = record.config(), summary["final"]
    step = -1 if summary["best"] is None else summary["best"]["step"]
    sample, probe = sampler.draw(max(step, 0))
    last = weights.get(final["step"], final["weights_sha256"])
    test = evaluator.evaluate("test") if evaluator.corpus.tokens_per_epoch("test") else None
    result = TrainingResult(
        stop_reason=summary["stop_reason"],
        best_step=step,
        best_weights=weights.get(step, last),
        final_weights=last,
        test=test,
        sample=sample,
        probe=probe,
        best_file=None,
        exact=_exact(record, evaluator, step),
    )
    counted = count_ngrams(config.tokenizer.name, text)
    again = build_summary(config, record.path, text, result, counted)
    again |= {"run": record.manifest["run"], "config": record.values}
    yield _beside("summary.json", summary, again, claim, "built again from the journal")
    drawn = next((line for line in record.samples if line["step"] == sample.step), {})
    if not record.resumed:  # which may have had other settings of samples
        yield _beside("samples.jsonl", drawn, asdict(sample), claim, "drawn again")


def _exact(record: Record, evaluator: Evaluator, best_step: int) -> Exact | None:
    """The evaluations over all targets of a run with capped ones; leaves other weights behind.

    The evaluator has the best weights. Of last ones that are not kept, the summary's values count.
    """
    cap, corpus = record.config().trainer.eval_tokens, evaluator.corpus
    if not is_capped(corpus, cap):
        return None
    final = (record.summary or {})["final"]
    best = evaluator.row()
    last, entry = best, record.entries.get(final["step"])
    if final["step"] != best_step and entry is not None:
        state = checkpoint.read(record.directory.checkpoints / entry.file, entry)
        evaluator.model.load_state_dict(state["model"])
        last = evaluator.row()
    elif final["step"] != best_step:
        last = {curve: final[name] for name, curve in CURVES.items() if name in final}
        last |= {f"val/loss/{name}": part["loss"] for name, part in final.get("parts", {}).items()}
        last = {name: math.nan if value is None else value for name, value in last.items()}
    return Exact(best, last, judged(corpus, cap)["val"])


def _beside(
    file: str, stored: Mapping[str, Any], again: Mapping[str, Any], claim: Claim, how: str
) -> Finding:
    """How the values of a file compare with those that were made again, key by key."""
    keys = [key for key in stored if key not in ("files", SEAL)]
    verdicts = {key: claim.judge(key, stored[key], again.get(key)) for key in keys}
    for key in {"sample", "text"} & verdicts.keys():
        if claim.reasons and verdicts[key] is Verdict.DIFFERENT:  # one token, and all after it
            verdicts[key] = Verdict.EQUIVALENT
    verdict = worst(list(verdicts.values()))
    if not keys or verdict is Verdict.DIFFERENT:
        bad = next((key for key in keys if verdicts[key] is verdict), "")
        text = apart(bad, stored.get(bad), again.get(bad)) if bad else "the sample is not there"
        return Finding(file, text, Verdict.DIFFERENT)
    bits = "to the bit" if verdict is Verdict.IDENTICAL else "within the tolerance"
    return Finding(file, f"{how}: {bits}", verdict)
