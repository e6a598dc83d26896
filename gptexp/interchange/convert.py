"""Runs to and from the files of other programs: microGPT's JSON so far."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptexp.config import (
    Config,
    Dtype,
    GPTConfig,
    check,
    config_hash,
    flat,
    from_dict,
    from_overrides,
    run_name,
    stored_config,
    to_dict,
)
from gptexp.data.load import read_corpus, split_corpus
from gptexp.data.read import BOUNDARY, corpus_digest, source
from gptexp.errors import CheckpointError, ConfigError, DataError, Problem
from gptexp.experiment.finish import TrainingResult, finish
from gptexp.experiment.identity import Identity
from gptexp.experiment.lifecycle import complete
from gptexp.experiment.manifest import write_manifest
from gptexp.experiment.prepare import Inputs
from gptexp.files import read_regular, storage_errors, write_text
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.generate import Sampler
from gptexp.inference.load import read_checkpoint
from gptexp.interchange import microgpt
from gptexp.interchange.defects import SIZES, Defect
from gptexp.interchange.microgpt import MicroGPT
from gptexp.models.build import construct
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import Store
from gptexp.runs.directory import OUTPUTS, RunDirectory
from gptexp.runs.lines import Lines
from gptexp.runs.schema import Summary
from gptexp.runtime.device import device_problems, probe_hardware, resolve_runtime
from gptexp.tokenizers.char import CharTokenizer
from gptexp.tracking.tracker import open_tracker

log = logging.getLogger(__name__)

MOST_BYTES = 2**30  # of an imported file: some forty million weights

ROWS = 1  # documents that microGPT trains on in a step
TRAINED = ("rerun", "init_from", "branch_from")  # keys of what is trained

PRESET = "experiment=microgpt"  # whose switches microGPT's architecture is


def export_run(run: Path, to: Path | None = None) -> Path:
    """Write the best weights of a run, or a checkpoint, as microGPT's JSON; returns the file.

    Its `final_loss` is the last training loss logged up to that step. Raises CheckpointError for a
    model that microGPT does not know, ConfigError for a file that is there already, StorageError.
    """
    state = read_checkpoint(run)
    with stored_config(str(run), "use the gptexp that wrote it"):
        config = from_dict(state["config"])
    defects = _not_micro(config, state["tokenizer"])
    CheckpointError.raise_for(Problem(run, what, fix) for what, fix in defects)
    model = config.model
    assert isinstance(model, GPTConfig)
    loss = None
    for line in Lines(run / "metrics.jsonl", having=b'"train/loss"') if run.is_dir() else []:
        is_before = line["step"] <= state["step"] and line.get("train/loss") is not None
        loss = line["train/loss"] if is_before else loss
    stored = MicroGPT(
        n_embd=model.n_embd,
        n_head=model.n_head,
        n_layer=model.n_layer,
        block_size=model.block_size,
        num_steps=state["step"],
        final_loss=loss,
        chars=state["tokenizer"]["characters"].removesuffix(BOUNDARY),
        weights=microgpt.from_state(state["model"], model.n_layer),
    )
    path, text = to or Path(microgpt.filename(stored)), microgpt.render(stored)
    with storage_errors(path):
        if path.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
            raise ConfigError(Problem(path, "is there already, and differs", "--file OTHER.json"))
    write_text(path, text)
    return path


def import_file(path: Path, overrides: list[str], outputs: Path = OUTPUTS) -> Path:
    """Make a run directory of microGPT's JSON, judged on the config's documents; returns it.

    `overrides` are those of run.py, such as data=documents data.path=FILE; without them, the names.
    The weights stay the float64 of the file, so that an export gives the same numbers; a model
    computes in float32. Raises CheckpointError, ConfigError, DataError, InUseError, StorageError.
    """
    stored = microgpt.parse(_read(path), str(path))
    config = _config(stored, path, overrides)
    identity = _identify(config, stored, outputs)
    directory = identity.directory
    if directory.summary() is not None:
        log.info("already there: %s", directory.path)
        return directory.path
    inputs = _inputs(config, stored, path, identity)

    def fill() -> Summary:
        write_manifest(config, identity, inputs, overrides, None)
        return _filled(config, identity, inputs, stored)

    complete(directory, config, fill)
    return directory.path


def _config(stored: MicroGPT, path: Path, overrides: list[str]) -> Config:
    """microGPT's setting with the sizes and steps of the file, in float32; raises ConfigError."""
    config, preset = from_overrides([PRESET, *overrides]), from_overrides([PRESET])
    if config.model != preset.model:
        fix = "leave model=... and model.* out"
        raise ConfigError(Problem("model", f"{path} says what it is", fix))
    if (key := next((key for key in TRAINED if getattr(config, key)), None)) is not None:
        raise ConfigError(Problem(key, "an import trains nothing", "leave it out"))
    if config.trainer.eval_tokens is not None:
        what = "an import is judged once, and exactly"
        raise ConfigError(Problem("trainer.eval_tokens", what, "leave it out"))
    if not config.data.documents or config.tokenizer.name != "char":
        fix = "data=names, or data=documents data.path=FILE, and tokenizer=char"
        raise ConfigError(Problem("data", "microGPT reads documents, character by character", fix))
    assert isinstance(config.model, GPTConfig)
    sizes = {key: getattr(stored, key) for key in SIZES}
    config.model = replace(config.model, **sizes)
    steps = max(stored.num_steps, 1)
    config.trainer = replace(config.trainer, max_steps=steps, dtype=Dtype.float32)
    config.init_from = str(path)
    check(config)
    ConfigError.raise_for(device_problems(config.trainer, probe_hardware()))
    return config


def _identify(config: Config, stored: MicroGPT, outputs: Path) -> Identity:
    """The identity of an import: the whole file counts, but not as weights to train from would."""
    content = hashlib.sha256(f"imported from microGPT\n{microgpt.render(stored)}".encode())
    sha256 = corpus_digest(config.data)
    hashed = config_hash(config, sha256, content.hexdigest())
    path = outputs / config.name / run_name(config, hashed)
    return Identity(sha256, None, hashed, RunDirectory(path))


def _inputs(config: Config, stored: MicroGPT, path: Path, identity: Identity) -> Inputs:
    """The inputs as prepare() has them, but in the vocabulary of the file; raises DataError."""
    tokenizer = CharTokenizer(stored.chars + BOUNDARY)
    content = read_corpus(config.data, identity.data_sha256)
    try:
        text = split_corpus(config.data, content, tokenizer, config.model.block_size)
    except DataError as error:
        cause = error.problems[0]
        if cause.subject != "text":  # not of the vocabulary
            raise
        what = f"cannot be judged on {source(config.data)}: {cause.subject}: {cause.what}"
        fix = "data=documents data.path=FILE, with documents of its characters"
        raise DataError(Problem(path, what, fix)) from error
    runtime = resolve_runtime(config.trainer, probe_hardware())
    corpus = text.corpus(ROWS, config.seed, runtime.device)
    return Inputs(text, corpus, runtime, config.trainer)


def _filled(config: Config, identity: Identity, inputs: Inputs, stored: MicroGPT) -> Summary:
    """Fill the directory with what training leaves: a checkpoint, and curves of one point.

    Returns the summary. Tokens and epochs are those of one document a step, as microGPT trains.
    """
    folder, step, cfg = identity.directory.path, stored.num_steps, config.trainer
    corpus, tokenizer, text = inputs.corpus, inputs.tokenizer, inputs.text
    model = construct(config.model, tokenizer.vocab_size)
    weights = microgpt.to_state(stored)
    model.load_state_dict(weights)
    model.to(inputs.runtime.device)
    evaluator = Evaluator(model, corpus, tokenizer, inputs.runtime, cfg.eval_batch_size)
    tokens = corpus.tokens_seen(step)
    epoch = tokens / corpus.tokens_per_epoch("train")
    values = {"tokens": tokens, "epoch": epoch, "seconds": 0.0, **evaluator.row()}
    if stored.final_loss is not None:
        values["train/loss"] = stored.final_loss
    store = Store(identity.directory.checkpoints)
    saved = {"config": to_dict(config), "config_hash": identity.hash}
    store.save({**saved, "tokenizer": tokenizer.to_dict(), "model": weights}, step, best_step=step)
    sampler = Sampler(model, tokenizer, text.format, config.model.block_size, cfg, config.seed)
    sample, probe = sampler.draw(step)
    digest = checkpoint.digest(weights)
    result = TrainingResult(
        stop_reason=f"imported from {config.init_from}",
        best_step=step,
        best_weights=digest,
        final_weights=digest,
        test=evaluator.evaluate("test") if config.data.test_fraction else None,
        sample=sample,
        probe=probe,
        best_file=store.folder / store.best_entry().file,
    )
    with open_tracker(config.logger, folder, to_dict(config), None) as tracker:
        tracker.scalars(step, values)
        return finish(config, folder, text, tracker, result)


def _not_micro(config: Config, tokenizer: dict[str, Any]) -> list[Defect]:
    """The defects of a config for which microGPT's file has no place."""
    wanted = flat(to_dict(from_overrides([PRESET])))
    values = flat(to_dict(config))
    free = {
        "model.name",
        "model.dropout",
        "model.init_std",
        "model.scale_residuals",
        "model.zero_init",
    }
    free |= {f"model.{key}" for key in SIZES}
    keys = [key for key in wanted if key.startswith("model.") and key not in free]
    keys += ["tokenizer.name", "data.documents"]
    fix = f"train one by {PRESET}"
    defects = [
        (f"{key} is {values.get(key)}, not {wanted[key]}", fix)
        for key in keys
        if values.get(key) != wanted[key]
    ]
    if not defects and not tokenizer["characters"].endswith(BOUNDARY):
        defects.append(("its boundary is not the last token", fix))
    return defects


def _read(path: Path) -> str:
    """The text of a file; raises CheckpointError."""
    try:
        return read_regular(path, MOST_BYTES).decode()
    except OSError as error:
        reason = str(error.strerror)
    except ValueError:  # not UTF-8, or a NUL in the name
        reason = "not UTF-8 text"
    shown = str(path).encode("unicode_escape").decode()
    raise CheckpointError(Problem(shown, reason, "name a file such as model_e16_h4_l1_s1000.json"))
