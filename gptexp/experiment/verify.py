"""What the config of a run and its checkpoints say, beside its other files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from gptexp.config import Config, check, config_hash, differences, flat, from_dict
from gptexp.config.own import own_code
from gptexp.data.find import find_corpus
from gptexp.errors import CheckpointError, ConfigError, GptexpError, Problem, ReproduceError
from gptexp.experiment.identity import Start, start_of
from gptexp.experiment.record import Record
from gptexp.experiment.start import find_base
from gptexp.experiment.verdict import Claim, Finding, Verdict
from gptexp.files import at_home
from gptexp.runs import checkpoint, provenance
from gptexp.runs.checkpoint import State
from gptexp.runs.directory import hashed_code
from gptexp.runs.entries import Entry
from gptexp.runs.schema import Manifest
from gptexp.runtime.device import (
    Runtime,
    cpu_threads,
    device_problems,
    probe_hardware,
    resolve_runtime,
)

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
            start = start_of(path) if key == "init_from" else find_base(str(path)).digest()
            if _check_hash(record, start) is None:
                return path.absolute(), start
        except (GptexpError, OSError):
            continue
    held = "weights that are" if key == "init_from" else "checkpoint that is"
    what = f"{own} is not here with the {held} in the run's hash"
    raise ReproduceError(Problem(key, what, "bring it to that path"))
