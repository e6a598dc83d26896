"""What the checkpoints of a run say, loaded and evaluated again, beside its files."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from gptexp.config import Config, check, config_hash, differences, flat, from_dict
from gptexp.config.own import own_code
from gptexp.data.corpus import is_capped, judged
from gptexp.data.find import find_corpus
from gptexp.data.load import LoadedCorpus, read_corpus, split_corpus
from gptexp.errors import CheckpointError, ConfigError, GptexpError, Problem, ReproduceError
from gptexp.experiment.compatibility import other_shapes
from gptexp.experiment.finish import CURVES, Exact, TrainingResult, build_summary, count_ngrams
from gptexp.experiment.identity import Start, start_of
from gptexp.experiment.integrity import Record
from gptexp.experiment.start import find_base
from gptexp.experiment.verdict import Claim, Finding, Verdict, apart, worst
from gptexp.files import at_home
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.generate import Sampler, build_sampler
from gptexp.inference.mixed import build_evaluator
from gptexp.models.build import construct
from gptexp.runs import checkpoint, provenance
from gptexp.runs.checkpoint import State
from gptexp.runs.directory import hashed_code
from gptexp.runs.entries import Entry
from gptexp.runs.journal import curves
from gptexp.runs.schema import Manifest
from gptexp.runs.seal import SEAL
from gptexp.runtime.device import (
    Runtime,
    cpu_threads,
    device_problems,
    probe_hardware,
    resolve_runtime,
)
from gptexp.tokenizers.build import tokenizer_from_dict

IMPORTED = "imported from "  # how the stop reason of a run begins that was not trained here


@dataclass
class Restored:
    """A run's corpus and machine as they are here, with its config made to find them."""

    record: Record
    config: Config  # with the corpus and the init_from of this machine
    runtime: Runtime
    weights: dict[int, str]  # digests of the checkpoints' weights, by step


def resolve_here(config: Config) -> Runtime:
    """The runtime that the run would have here; raises ConfigError."""
    hardware = probe_hardware()
    ConfigError.raise_for(device_problems(config.trainer, hardware))
    return resolve_runtime(config.trainer, hardware)


def claim(record: Record) -> Claim:
    """What is to be expected here of the run; raises ConfigError for a device that is not here."""
    config, manifest = record.config(), record.manifest
    with cpu_threads(config.trainer.threads):
        now = provenance.environment(resolve_here(config))
    reasons = provenance.differences(manifest["environment"], now)
    if config.trainer.compile is True or manifest["environment"].get("compiled"):
        reasons.append("trainer.compile, whose kernels are built anew")
    for resume in manifest["resumes"]:
        if differs := resume.get("differs"):
            reasons.append(f"resumed at step {resume.get('step')} with {', '.join(differs)}")
    return Claim(reasons, [*provenance.changed(manifest["sources"]), *record.changed_own_code()])


def restore(record: Record, weights: dict[int, str]) -> Restored:
    """The run's config as it can be run here; raises GptexpError for what is not to be had."""
    config = record.config()
    check(config)
    runtime = resolve_here(config)
    data = find_corpus(config.data, record.manifest["data"]["sha256"], record.path)
    config = replace(config, data=data)
    if config.branch_from is not None:
        config.branch_from = str(_find_start(record, config)[0])
    elif config.init_from is not None and not is_import(record):
        config.init_from = str(_find_start(record, config)[0])
    return Restored(record, config, runtime, weights)


def is_import(record: Record) -> bool:
    """Whether the run came from the file of another program."""
    reason = str((record.summary or record.status).get("stop_reason", record.status["reason"]))
    return reason.startswith(IMPORTED)


def check_config(record: Record) -> Finding:
    """The hash of config.yaml beside those who name it.

    Raises ReproduceError where the weights that it covers are not here.
    """
    config, told = record.config(), record.manifest["config_hash"][:8]
    if is_import(record):
        return Finding("config.yaml", f"hash {told}; it covers the imported file too")
    starts = (config.init_from, config.branch_from) != (None, None)
    start = _find_start(record, config)[1] if starts else None
    if what := _check_hash(record, start):
        return Finding("config.yaml", what, Verdict.DIFFERENT)
    return Finding("config.yaml", f"hash {told}, as in the directory's name and in manifest.json")


def _check_hash(record: Record, start: Start | str | None) -> str | None:
    """What is wrong with the hash of the config; None where it is that of all who name it.

    The vocabulary of a start may be in it, or none: see identity.Start.
    """
    config, told = record.config(), record.manifest["config_hash"]
    starts = [start.weights, start.untold] if isinstance(start, Start) else [start]
    told_code = hashed_code(cast(Manifest, record.manifest))
    code = {
        section: {name: told_code.get(name, "") for name in files}
        for section, files in own_code(config).items()
    }
    hashes = [config_hash(config, record.manifest["data"]["sha256"], one, code) for one in starts]
    made = told if told in hashes else hashes[0]
    if made != told:
        return f"its hash is {made[:8]}, and {told[:8]} in manifest.json"
    tail = re.search(r"-([0-9a-f]{8})(\.old\d+)?$", record.path.resolve().name)
    if tail is not None and tail[1] != made[:8]:
        return f"its hash is {made[:8]}, and {tail[1]} in the directory's name"
    return None


def check_checkpoints(record: Record, weights: dict[int, str]) -> Iterator[Finding]:
    """Load each checkpoint, and compare it with its entry, the config and the summary.

    Fills `weights` with digests by step.
    """
    for entry in record.entries.values():
        name = f"checkpoints/{entry.file}"
        try:
            state = checkpoint.read(record.directory.checkpoints / entry.file, entry)
        except CheckpointError as error:
            yield Finding(name, error.problems[0].what, Verdict.DIFFERENT)
            continue
        weights[entry.step] = checkpoint.digest(state["model"])
        if what := _unlike(record, entry, state, weights[entry.step]):
            yield Finding(f"{name.removesuffix('.pt')}.json", what, Verdict.DIFFERENT)
        if keys := _other_keys(record, state):
            yield Finding("config.yaml", f"{keys} is another in {entry.file}", Verdict.DIFFERENT)
    for part in ("best", "final"):
        told = (record.summary or {}).get(part) or {}
        own = weights.get(told.get("step", -1))
        if own is not None and own != told.get("weights_sha256"):
            what = f"weights_sha256 of {part} is not that of its checkpoint"
            yield Finding("summary.json", what, Verdict.DIFFERENT)
    steps = ", ".join(f"{step:,}" for step in weights)
    yield Finding("checkpoints", f"step {steps}: whole" if steps else "none")


def _unlike(record: Record, entry: Entry, state: State, digest: str) -> str | None:
    """The first thing in which an entry or the run is not what its checkpoint says."""
    if (state["step"], state["best_step"]) != (entry.step, entry.best_step):
        return "its steps are not those of its checkpoint"
    if entry.weights_sha256 not in (None, digest):
        return "weights_sha256 is not that of its checkpoint"
    if state["config_hash"] != record.manifest["config_hash"]:
        return "its checkpoint is that of another run"
    return None


def _other_keys(record: Record, state: State) -> str:
    """The keys in which config.yaml is not that of a checkpoint; those not hashed may change."""
    rows = differences(from_dict(state["config"]), record.config())
    stored, own = flat(state["config"]), flat(record.values)
    unlike = [key for key in own if stored.get(key) != own[key] and not record.resumed]
    if record.reused:
        unlike = [key for key in unlike if key != "name" and not key.startswith("logger.")]
    return ", ".join(dict.fromkeys([*(row.key for row in rows), *unlike]))


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


def _find_start(record: Record, config: Config) -> tuple[Path, Start | str]:
    """What init_from or branch_from names, wherever it is, with its digest.

    Raises ReproduceError.
    """
    key = "init_from" if config.branch_from is None else "branch_from"
    own = at_home(getattr(config, key))
    for path in [own, *(folder / own for folder in record.path.resolve().parents)]:
        try:
            if not path.exists():
                continue
            found = start_of(path) if key == "init_from" else find_base(str(path)).digest()
            if _check_hash(record, found) is None:
                return path.absolute(), found
        except (GptexpError, OSError):
            continue
    held = "weights that are" if key == "init_from" else "checkpoint that is"
    what = f"{own} is not here with the {held} in the run's hash"
    raise ReproduceError(Problem(key, what, "bring it to that path"))
