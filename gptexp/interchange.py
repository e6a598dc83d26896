"""Runs to and from the files of other programs: microGPT's JSON so far."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptexp import checkpoint, data, microgpt, networks, runtime, summary
from gptexp.checkpoint import Store
from gptexp.config import (
    Config,
    GPTConfig,
    config_hash,
    flat,
    from_dict,
    from_overrides,
    run_name,
    to_dict,
)
from gptexp.config import problems as config_problems
from gptexp.data import Loaded
from gptexp.documents import BOUNDARY
from gptexp.errors import CheckpointError, ConfigError, DataError
from gptexp.evaluation import evaluate
from gptexp.files import write_text
from gptexp.journal import read_journal
from gptexp.manifest import record
from gptexp.microgpt import MicroGPT
from gptexp.mirrors import Final
from gptexp.ngrams import counted
from gptexp.preflight import Identity, Inputs
from gptexp.rundir import OUTPUTS, RunDirectory
from gptexp.sample import draw, read_checkpoint
from gptexp.standing import settle
from gptexp.tokenizers import CharTokenizer
from gptexp.tracking import open_tracking

log = logging.getLogger(__name__)

PRESET = "experiment=microgpt"  # whose switches microGPT's architecture is


def export_run(run: Path, to: Path | None = None) -> Path:
    """Write the best weights of a run, or a checkpoint, as microGPT's JSON; returns the file.

    Its `final_loss` is the last training loss logged up to that step. Raises CheckpointError for a
    model that microGPT does not know, ConfigError for a file that is there already, StorageError.
    """
    state = read_checkpoint(run)
    config = from_dict(state["config"])
    if found := _not_micro(config, state["tokenizer"]):
        raise CheckpointError(*(f"{run}: {what}" for what in found))
    model = config.model
    assert isinstance(model, GPTConfig)
    lines = read_journal(run / "metrics.jsonl") if run.is_dir() else []
    logged = [
        line["train/loss"]
        for line in lines
        if line["step"] <= state["step"] and line.get("train/loss") is not None
    ]
    stored = MicroGPT(
        n_embd=model.n_embd,
        n_head=model.n_head,
        n_layer=model.n_layer,
        block_size=model.block_size,
        num_steps=state["step"],
        final_loss=logged[-1] if logged else None,
        chars=state["tokenizer"]["characters"].removesuffix(BOUNDARY),
        weights=microgpt.from_state(state["model"], model.n_layer),
    )
    path, text = to or Path(microgpt.filename(stored)), microgpt.render(stored)
    if path.exists() and (not path.is_file() or path.read_text(encoding="utf-8") != text):
        raise ConfigError(f"{path}: is there already, and differs. Fix: --file OTHER.json")
    write_text(path, text)
    return path


def import_file(path: Path, overrides: list[str], outputs: Path = OUTPUTS) -> Path:
    """A run directory with the weights of microGPT's JSON, judged on the config's documents.

    `overrides` are those of run.py, such as data=documents data.path=FILE; without them, the names.
    The weights stay the float64 of the file, so that an export gives the same numbers; a model
    computes in float32. Raises CheckpointError, ConfigError, DataError, InUseError, StorageError.
    """
    stored = microgpt.parse(_read(path), str(path))
    config = _config(stored, path, overrides)
    who = _identify(config, stored, outputs)
    if who.directory.summary() is not None:
        log.info("already there: %s", who.directory.path)
        return who.directory.path
    inputs = _inputs(config, stored, path, who)
    with who.directory.locked(), runtime.cpu_threads(config.trainer.threads):
        record(config, who, inputs, overrides, None)
        _fill(who, config, inputs, stored)
    return who.directory.path


def _identify(config: Config, stored: MicroGPT, outputs: Path) -> Identity:
    """The weights count as those of an init_from do, so that two files are two runs."""
    sha256 = data.digest(config.data)
    hashed = config_hash(config, sha256, checkpoint.digest(microgpt.to_state(stored)))
    path = outputs / config.name / run_name(config, hashed)
    return Identity(sha256, hashed, RunDirectory(path), None)


def _inputs(config: Config, stored: MicroGPT, path: Path, who: Identity) -> Inputs:
    """As preflight.prepare has them, but in the vocabulary of the file."""
    tokenizer = CharTokenizer(stored.chars + BOUNDARY)
    text = data.read(config.data, who.data_sha256)
    try:
        splits = data.split(text, config.data, tokenizer, config.model.block_size)
    except DataError as error:
        what = error.problems[0].partition(" Fix:")[0]
        raise DataError(
            f"{path}: cannot be judged on {config.data.path or config.data.asset}: {what} "
            "Fix: data=documents data.path=FILE, with documents of its characters"
        ) from error
    where = runtime.resolve(config.trainer, runtime.probe())
    loaded = Loaded(config, text, tokenizer, splits)
    corpus = loaded.corpus(where.device)
    return Inputs(loaded.describe(), tokenizer, splits, corpus, where, config.trainer)


def _fill(who: Identity, config: Config, inputs: Inputs, stored: MicroGPT) -> None:
    """What training leaves: curves, of one point; a checkpoint; the summary, and it last."""
    directory, step, corpus = who.directory, stored.num_steps, inputs.corpus
    network = networks.blank(config.model, inputs.tokenizer.vocab_size)
    state = microgpt.to_state(stored)
    network.load_state_dict(state)
    network.to(inputs.runtime.device)
    judged = [
        evaluate(
            network,
            corpus,
            inputs.tokenizer,
            inputs.runtime,
            split,
            config.trainer.eval_batch_size,
            limit,
        )
        for split, limit in (("val", None), ("train", corpus.size("val")))
    ]
    seed = runtime.stream_seed(config.seed, "sample", step)
    sample, _ = draw(network, inputs.tokenizer, config.trainer, corpus, seed, step)
    Store(directory.checkpoints).save(
        {
            "config": to_dict(config),
            "config_hash": who.hash,
            "tokenizer": inputs.tokenizer.to_dict(),
            "model": state,
        },
        step,
        best_step=step,
    )
    tokens = corpus.trained(step, 1)  # as microGPT trains: a document a step
    values = {
        "tokens": tokens,
        "epoch": tokens / corpus.size("train"),
        "seconds": 0.0,
        "train/eval_loss": judged[1].loss,
        "val/loss": judged[0].loss,
        "val/bpb": judged[0].bpb,
        "val/stderr": judged[0].stderr,
    }
    if stored.final_loss is not None:
        values["train/loss"] = stored.final_loss
    with open_tracking(config, directory.path, None) as tracked:
        tracked.scalars(step, values)
        result = summary.build(
            directory.path,
            config=config,
            vocab_size=inputs.tokenizer.vocab_size,
            stop_reason=f"imported from {config.init_from}",
            best_step=step,
            weights=dict.fromkeys(("best", "final"), checkpoint.digest(state)),
            test=None,
            ngrams=counted(
                config.tokenizer.name,
                inputs.splits.train,
                inputs.splits.val,
                inputs.tokenizer.vocab_size,
                corpus.boundary,
            ),
            sample=sample,
        )
        tracked.final(Final(step, summary.scalars(result), sample, None, None))
    directory.write_json("summary.json", result)
    settle(config, directory, result)
    summary.show(result, directory.path)


def _config(stored: MicroGPT, path: Path, overrides: list[str]) -> Config:
    """microGPT's setting with the sizes and steps of the file; raises ConfigError."""
    config = from_overrides([PRESET, *overrides])
    sizes = {key: getattr(stored, key) for key in microgpt.SIZES}
    assert isinstance(config.model, GPTConfig)
    config.model = replace(config.model, **sizes)
    config.trainer = replace(config.trainer, max_steps=max(stored.num_steps, 1))
    config.init_from = str(path)
    if found := config_problems(config):
        raise ConfigError(*found)
    if not config.data.documents or config.tokenizer.name != "char":
        raise ConfigError(
            "data: microGPT reads documents, character by character. "
            "Fix: data=names, or data=documents data.path=FILE, and tokenizer=char"
        )
    return config


def _not_micro(config: Config, tokenizer: dict[str, Any]) -> list[str]:
    """What of a config microGPT's file has no place for."""
    wanted = flat(to_dict(from_overrides([PRESET])))
    given = flat(to_dict(config))
    free = {"model.name", "model.dropout", "model.init_std", "model.scale_residuals"}
    free |= {f"model.{key}" for key in microgpt.SIZES}
    keys = [key for key in wanted if key.startswith("model.") and key not in free]
    keys += ["tokenizer.name", "data.documents"]
    found = [
        f"{key} is {given.get(key)}, not {wanted[key]}. Fix: train one by {PRESET}"
        for key in keys
        if given.get(key) != wanted[key]
    ]
    if not found and not tokenizer["characters"].endswith(BOUNDARY):
        found.append(f"its boundary is not the last token. Fix: train one by {PRESET}")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror
    except ValueError:  # not UTF-8, or a NUL in the name
        reason = "not UTF-8 text"
    shown = str(path).encode("unicode_escape").decode()
    raise CheckpointError(f"{shown}: {reason}. Fix: name a file such as model_e16_h4_l1_s1000.json")
