"""A longer run that goes on from a shorter one's last checkpoint, as if it had made its steps.

Under a constant learning rate no update depends on trainer.max_steps, so the shorter run is the
beginning of the longer one, but for what its end called for: a line of the training loss, an
evaluation and a sample off their intervals. These are left out, and what validation came to is
counted anew over the evaluations that stay.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptexp.config import Config, Keep, OnOverfit, TrainerConfig, config_hash, to_dict, to_yaml
from gptexp.console import logged_to
from gptexp.errors import GptexpError
from gptexp.experiment.identity import Identity
from gptexp.experiment.integrity import Record, read_whole
from gptexp.experiment.reuse import other_code, other_setting, resealed
from gptexp.experiment.screen import EVENTS
from gptexp.files import copy_file, link_or_copy, made_aside
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import Resumable, Store
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import LAST, read_entry
from gptexp.runs.journal import curves
from gptexp.runs.schema import Manifest
from gptexp.runs.state import RunState
from gptexp.training.early_stopping import EarlyStopping

log = logging.getLogger(__name__)

Line = dict[str, Any]  # of a journal

UNFINISHED = (RunState.interrupted, RunState.pruned, RunState.killed, RunState.failed)


class _NotExtendedError(Exception):
    """A shorter run is not the beginning of this one, in words."""


def extend(config: Config, identity: Identity) -> None:
    """Make the run's directory of a shorter run, where there is one, so that it is taken up there.

    It appears under its name whole or not at all. Says which run it extends, or why not.
    """
    directory = identity.directory
    for source, _ in shorter(config, identity):
        try:
            record = read_whole(source)  # a killed run would be `running` under our own lock
            with record.directory.locked():
                step = _go_on_from(record, config, identity)
        except (_NotExtendedError, GptexpError, OSError) as error:
            log.info("%s is not extended: %s", source, error)
            continue
        with logged_to(directory.log):
            log.info("extends %s from step %s", source, f"{step:,}")
        return


def shorter(config: Config, identity: Identity) -> Iterator[tuple[Path, int]]:
    """The runs of outputs/ that this one would go on from, each with its last checkpoint's step.

    The farthest one first, by what they say of themselves; says why others are not taken.
    """
    path = identity.directory.path
    if not config.extendable or config.rerun or path.exists():
        return
    found = []
    for file in path.parents[1].glob(f"*/{path.name.rpartition('-')[0]}-????????/manifest.json"):
        directory = RunDirectory(file.parent)
        try:
            manifest = directory.manifest()
            last = read_entry(directory.checkpoints / LAST)
            if last is None or not _is_shorter(manifest, config, identity):
                continue
            why = _unlike(directory, manifest, config)
        except GptexpError as error:
            why = str(error.problems[0])
        else:
            found += [(directory.path, last.step)] if why is None else []
        if why is not None:
            log.info("%s is not extended: %s", directory.path, why)
    yield from sorted(found, key=lambda run: (-run[1], run[0]))


def _is_shorter(manifest: Manifest, config: Config, identity: Identity) -> bool:
    """Whether a run has the same config, data and start weights, and fewer steps."""
    steps = manifest.get("max_steps", 0)
    if not 0 < steps < config.trainer.max_steps:
        return False
    own = replace(config, trainer=replace(config.trainer, max_steps=steps))
    hashed = config_hash(own, identity.data_sha256, identity.init_sha256)
    return hashed == manifest.get("config_hash")


def _unlike(directory: RunDirectory, manifest: Manifest, config: Config) -> str | None:
    """Why a shorter run is not the beginning of this one; None where it may be.

    Raises ConfigError.
    """
    if (code := other_code(manifest)) is not None:
        return code
    if (state := directory.state()) is RunState.diverged:
        return "it diverged, and a longer run would too"
    if state not in (RunState.done, *UNFINISHED):
        return f"its status is {state}"
    if (setting := other_setting(directory.config(), config)) is not None:
        return setting
    if config.plugins or manifest.get("plugins"):
        return "own code may be told of a run while it trains"
    return "W&B is told of a run while it trains" if config.logger.wandb else None


def _go_on_from(record: Record, config: Config, identity: Identity) -> int:
    """Put the run's beginning in its directory, in one step; returns the updates that are done.

    The caller holds the lock of the record's directory. Where another process went on with it since
    it was read, its checkpoint has no lines in the record. Raises _NotExtendedError, GptexpError
    and OSError.
    """
    newest = Store(record.directory.checkpoints).latest()
    if newest is None or newest.state["config_hash"] != record.manifest["config_hash"]:
        raise _NotExtendedError("it has no checkpoint of its own")
    step, cfg = newest.entry.step, config.trainer
    metrics = [line for line in record.metrics if line["step"] <= step and _is_due(line, cfg)]
    samples = [line for line in record.samples if 0 < line["step"] <= step and _sampled(line, cfg)]
    _check_lines(metrics, samples, step, cfg)
    stop = _stop_after(metrics, cfg)
    if cfg.on_overfit is OnOverfit.stop and stop.should_stop:
        raise _NotExtendedError(
            f"patience stopped it at step {step:,}, where a longer run would stop too"
        )
    with made_aside(identity.directory.path) as folder:
        new = RunDirectory(folder)
        new.checkpoints.mkdir(parents=True)
        _save(record, newest, stop, Store(new.checkpoints, cfg.keep), config, identity)
        new.write_text("metrics.jsonl", _written(metrics))
        new.write_text("samples.jsonl", _written(samples))
        if record.directory.log.is_file():
            copy_file(record.directory.log, new.log)
        for events in record.path.glob(EVENTS) if config.logger.tensorboard else ():
            link_or_copy(events, new.path / events.name)
        _describe(new, record, step, config, identity)
    return step


def _is_due(line: Line, cfg: TrainerConfig) -> bool:
    """Whether a line of metrics.jsonl comes at its interval, and not at the end of a run alone."""
    interval = cfg.eval_interval if "val/loss" in line else cfg.log_interval
    return bool(line["step"] % interval == 0)


def _sampled(line: Line, cfg: TrainerConfig) -> bool:
    return cfg.sample_interval > 0 and line["step"] % cfg.sample_interval == 0


def _check_lines(metrics: list[Line], samples: list[Line], step: int, cfg: TrainerConfig) -> None:
    """Check that the journals hold each line that is due by `step`, once.

    Not so where an earlier process had other intervals. Raises _NotExtendedError.
    """
    evaluated = [line["step"] for line in metrics if "val/loss" in line]
    logged = [line["step"] for line in metrics if "val/loss" not in line]
    due = [
        (evaluated, range(0, step + 1, cfg.eval_interval), "eval_interval"),
        (logged, range(cfg.log_interval, step + 1, cfg.log_interval), "log_interval"),
    ]
    if every := cfg.sample_interval:
        sampled = [line["step"] for line in samples]
        due.append((sampled, range(every, step + 1, every), "sample_interval"))
    for found, wanted, key in due:
        if found != [*wanted]:
            raise _NotExtendedError(
                f"its journals are not those of trainer.{key}={getattr(cfg, key)}"
            )


def _stop_after(metrics: list[Line], cfg: TrainerConfig) -> EarlyStopping:
    """What these evaluations come to: an evaluation at the end alone counts for nothing."""
    stop = EarlyStopping(cfg.patience, cfg.min_delta)
    for line in metrics:
        if "val/loss" in line:
            stop.update(curves(line)["val/loss"], line["step"])
    return stop


def _save(
    record: Record,
    newest: Resumable,
    stop: EarlyStopping,
    store: Store,
    config: Config,
    identity: Identity,
) -> None:
    """Write the checkpoints that the run goes on from, as its own; raises GptexpError."""
    theirs = Store(record.directory.checkpoints)
    last = replace(newest.entry, best_step=stop.best_step)
    best = theirs.best_of(last)
    kept = record.entries.values() if config.trainer.keep is Keep.all else ()
    entries = {entry.step: entry for entry in kept if entry.step < last.step}
    if best is not None and best != last:
        entries[best.step] = best
    own = {"config": to_dict(config), "config_hash": identity.hash}
    for step in sorted(entries):
        state = checkpoint.read(theirs.folder / entries[step].file)
        store.save({**state, **own}, step, state["best_step"])
    state = {**newest.state, **own, "best_step": stop.best_step, "stop": stop.state_dict()}
    store.save(state, last.step, stop.best_step)


def _describe(
    new: RunDirectory, record: Record, step: int, config: Config, identity: Identity
) -> None:
    """The files that say what the run is, as of one that was interrupted."""
    new.write_text("config.yaml", to_yaml(config))
    own = {
        "run": identity.directory.path.name,
        "config_hash": identity.hash,
        "max_steps": config.trainer.max_steps,
        "extended": {"run": str(record.path), "step": step},
    }
    manifest = {key: value for key, value in record.manifest.items() if key != "reused"}
    new.write_json("manifest.json", resealed(manifest, own))
    reason = f"extends {record.path} from step {step:,}; the same command goes on"
    new.set_status(RunState.interrupted, reason)


def _written(lines: list[Line]) -> str:
    """Lines of a journal as their writer wrote them."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
