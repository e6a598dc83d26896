"""A model of another program made a run: judged on a text, or on none."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from gptexp.config import (
    Config,
    Dtype,
    ModelConfig,
    config_hash,
    from_overrides,
    problems,
    run_name,
    to_dict,
)
from gptexp.data.corpus import SPLITS, Splits
from gptexp.data.load import LoadedCorpus, LoadedText, format_of, read_corpus, split_corpus
from gptexp.data.read import corpus_digest, source
from gptexp.errors import ConfigError, DataError, Problem
from gptexp.experiment.finish import TrainingResult, finish
from gptexp.experiment.identity import Identity
from gptexp.experiment.lifecycle import complete
from gptexp.experiment.manifest import write_manifest
from gptexp.experiment.prepare import Inputs
from gptexp.inference.generate import build_sampler
from gptexp.inference.mixed import build_evaluator
from gptexp.models.build import construct
from gptexp.runs import checkpoint, provenance
from gptexp.runs.checkpoint import Store
from gptexp.runs.directory import RunDirectory
from gptexp.runs.schema import Summary
from gptexp.runtime.device import device_problems, probe_hardware, resolve_runtime
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import tokenizer_config
from gptexp.tokenizers.ids import TokenIds
from gptexp.tracking.tracker import open_tracker

log = logging.getLogger(__name__)

FOLDER = "imported"  # in outputs/, unless name=... says another

TRAINED = ("rerun", "init_from", "branch_from")  # keys of what is trained


@dataclass(frozen=True, eq=False)  # tensors have no equality of their own
class Foreign:
    """A model of another program, by the names of this one."""

    source: Path  # its file or folder
    model: ModelConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    content: str  # all that its hash covers, the program's name among it
    step: int = 0  # updates it was trained for, as far as that is known
    rows: int = 1  # sequences of each
    loss: float | None = None  # of training, at the end, where that is known


def described(program: str, weights: dict[str, Tensor], tokenizer: Tokenizer) -> str:
    """What the hash of an import covers beside its config: all of its weights and its tokens."""
    tokens = provenance.fingerprint(tokenizer.to_dict())["sha256"]
    return f"imported from {program}\n{checkpoint.digest(weights)}\n{tokens}"


def settings(path: Path, overrides: Sequence[str]) -> Config:
    """The config of `overrides` for a model whose file says all of it, its tokens too.

    Without a choice of data there is no text. Raises ConfigError for what contradicts the file.
    """
    config = checked_settings(path, overrides, [f"name={FOLDER}"])
    data = [word for word in overrides if word.startswith(("data=", "data."))]
    if config.tokenizer != from_overrides(data).tokenizer:
        what, fix = f"{path} says what its tokens are", "leave tokenizer=... and tokenizer.* out"
        raise ConfigError(Problem("tokenizer", what, fix))
    if not data:
        config.data = replace(config.data, name="none", asset=None, path=None)
    return config


def checked_settings(path: Path, overrides: Sequence[str], preset: Sequence[str]) -> Config:
    """The config of `overrides` over a preset, for a model whose file says what it is.

    Raises ConfigError for what contradicts that.
    """
    keys = {word.partition("=")[0] for word in overrides}
    presumed = [word for word in preset if word.partition("=")[0] not in keys]
    config, plain = from_overrides([*presumed, *overrides]), from_overrides([*preset])
    if config.model != plain.model:
        fix = "leave model=... and model.* out"
        raise ConfigError(Problem("model", f"{path} says what it is", fix))
    if (key := next((key for key in TRAINED if getattr(config, key)), None)) is not None:
        raise ConfigError(Problem(key, "an import trains nothing", "leave it out"))
    if config.trainer.eval_tokens is not None:
        what = "an import is judged once, and exactly"
        raise ConfigError(Problem("trainer.eval_tokens", what, "leave it out"))
    return config


def adopt(foreign: Foreign, config: Config, overrides: Sequence[str], outputs: Path) -> Path:
    """Make a run directory of the model, judged on the text of `config`; returns it.

    In float32, so that it is judged alike on any device. Raises ConfigError, DataError, InUseError,
    StorageError.
    """
    if isinstance(foreign.tokenizer, TokenIds) and config.data.has_text and not config.data.tokens:
        what = f"{config.data.name} is a text, and of the tokens only their numbers are known"
        fix = "data=tokens data.path=FOLDER, or leave data=... out"
        raise ConfigError(Problem("data", what, fix))
    steps = max(foreign.step, config.trainer.max_steps)
    trainer = replace(config.trainer, dtype=Dtype.float32, max_steps=steps)
    config = replace(
        config,
        model=foreign.model,
        tokenizer=tokenizer_config(foreign.tokenizer),
        trainer=trainer,
        init_from=str(foreign.source),
    )
    _check(config)
    identity = _identify(config, foreign, outputs)
    directory = identity.directory
    if directory.summary() is not None:
        log.info("already there: %s", directory.path)
        return directory.path
    inputs = _inputs(config, foreign, identity)

    def fill() -> Summary:
        write_manifest(config, identity, inputs, [*overrides], None)
        return _filled(config, identity, inputs, foreign)

    complete(directory, config, fill)
    return directory.path


def _check(config: Config) -> None:
    """Raises ConfigError for values that cannot work; that there is no text is none of these."""
    ConfigError.raise_for(
        problem
        for problem in problems(config)
        if config.data.has_text or problem.subject != "data.path"
    )
    ConfigError.raise_for(device_problems(config.trainer, probe_hardware()))


def _identify(config: Config, foreign: Foreign, outputs: Path) -> Identity:
    """The identity of an import: its whole content counts, not as weights to train from would.

    Without a text, the digest of an empty one counts.
    """
    content = hashlib.sha256(foreign.content.encode())
    sha256 = corpus_digest(config.data) if config.data.has_text else hashlib.sha256().hexdigest()
    hashed = config_hash(config, sha256, content.hexdigest())
    path = outputs / config.name / run_name(config, hashed)
    return Identity(sha256, None, hashed, RunDirectory(path))


def _inputs(config: Config, foreign: Foreign, identity: Identity) -> Inputs:
    """The inputs as prepare() has them, but in the vocabulary of the file; raises DataError."""
    text = _no_text(config, foreign.tokenizer)
    if config.data.has_text:
        text = _text(config, foreign, identity)
    runtime = resolve_runtime(config.trainer, probe_hardware())
    corpus = text.corpus(foreign.rows, config.seed, runtime.device)
    return Inputs(text, corpus, runtime, config.trainer)


def _text(config: Config, foreign: Foreign, identity: Identity) -> LoadedCorpus:
    tokenizer = foreign.tokenizer
    content = read_corpus(config.data, identity.data_sha256)
    try:
        return split_corpus(config.data, content, tokenizer, config.model.block_size)
    except DataError as error:
        cause = error.problems[0]
        if cause.subject != "text":  # not of the vocabulary
            raise
        what = f"cannot be judged on {source(config.data)}: {cause.subject}: {cause.what}"
        kind = "documents" if config.data.documents else "chat" if config.data.chat else "text"
        fix = f"data={kind} data.path=FILE, of its tokens"
        raise DataError(Problem(foreign.source, what, fix)) from error


def _no_text(config: Config, tokenizer: Tokenizer) -> LoadedCorpus:
    """Splits of nothing, in the place of a text."""
    empty = np.zeros(0, np.int64)
    splits = Splits(empty, empty, empty, bounds=dict.fromkeys(SPLITS, (0, 0)))
    reading = format_of(config.data)
    return LoadedText("no text", reading, tokenizer, splits, config.model.block_size, "")


def _filled(config: Config, identity: Identity, inputs: Inputs, foreign: Foreign) -> Summary:
    """Fill the directory with what training leaves: a checkpoint, and curves of one point.

    Returns the summary. Tokens and epochs are those of so many rows a step as the file says.
    """
    folder, step, cfg = identity.directory.path, foreign.step, config.trainer
    corpus, tokenizer, text = inputs.corpus, inputs.tokenizer, inputs.text
    model = construct(config.model, tokenizer.vocab_size)
    model.load_state_dict(foreign.weights)
    model.to(inputs.runtime.device)
    evaluator = build_evaluator(model, corpus, tokenizer, inputs.runtime, cfg.eval_batch_size)
    tokens = corpus.tokens_seen(step)
    values: dict[str, float] = {"tokens": tokens, "epoch": 0.0, "seconds": 0.0}
    if config.data.has_text:
        values["epoch"] = tokens / corpus.tokens_per_epoch("train")
        values |= evaluator.row()
    if foreign.loss is not None:
        values["train/loss"] = foreign.loss
    store = Store(identity.directory.checkpoints)
    saved = {"config": to_dict(config), "config_hash": identity.hash}
    state = {**saved, "tokenizer": tokenizer.to_dict(), "model": foreign.weights}
    store.save(state, step, best_step=step)
    sampler = build_sampler(model, text, cfg, config.seed)
    sample, probe = sampler.draw(step)
    digest = checkpoint.digest(foreign.weights)
    has_test = config.data.has_text and config.data.test_fraction
    result = TrainingResult(
        stop_reason=f"imported from {config.init_from}",
        best_step=step,
        best_weights=digest,
        final_weights=digest,
        test=evaluator.evaluate("test") if has_test else None,
        sample=sample,
        probe=probe,
        best_file=store.folder / store.best_entry().file,
    )
    with open_tracker(config.logger, folder, to_dict(config), None) as tracker:
        tracker.scalars(step, values)
        return finish(config, folder, text, tracker, result)
