"""A longer run that goes on from a shorter one's last checkpoint, as if it had made its steps.

Under a constant learning rate no update depends on trainer.max_steps, so the shorter run is the
beginning of the longer one, but for what its end called for: a line of the training loss, an
evaluation and a sample off their intervals. These are left out, and what validation came to is
counted anew over the evaluations that stay.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gptexp import plugins
from gptexp.config import Config, OnOverfit, TrainerConfig, beginning_hash, config_hash
from gptexp.console import logged_to
from gptexp.errors import GptexpError
from gptexp.experiment.beginning import Beginning, Line
from gptexp.experiment.identity import Identity
from gptexp.experiment.integrity import WORKED_IN, Record, read_whole
from gptexp.experiment.reuse import other_code, other_setting
from gptexp.experiment.start import find_base
from gptexp.runs.checkpoint import Store
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import LAST, read_entry
from gptexp.runs.journal import curves
from gptexp.runs.schema import Manifest
from gptexp.runs.state import RunState
from gptexp.training.early_stopping import EarlyStopping

log = logging.getLogger(__name__)


class _NotExtendedError(Exception):
    """A shorter run is not the beginning of this one, in words."""


def extend(config: Config, identity: Identity, steps: int) -> None:
    """Make the run's directory of a shorter run, where there is one, so that it is taken up there.

    `steps` is how long it is to be. It appears under its name whole or not at all. Says which run
    it extends, or why not, and where it could branch from a shorter one.
    """
    directory = identity.directory
    for source, _ in shorter(config, identity, steps):
        try:
            record = read_whole(source)  # a killed run would be `running` under our own lock
            with record.directory.locked():
                step = _go_on_from(record, config, identity, steps)
        except (_NotExtendedError, GptexpError, OSError) as error:
            log.info("%s is not extended: %s", source, error)
            continue
        with logged_to(directory.log):
            log.info("extends %s from step %s", source, f"{step:,}")
        return
    if not (config.extendable or config.rerun or config.branch_from or directory.path.exists()):
        _tell_of_branch(config, identity, steps)


def shorter(config: Config, identity: Identity, steps: int) -> Iterator[tuple[Path, int]]:
    """The runs of outputs/ that this one would go on from, each with its last checkpoint's step.

    The farthest one first, by what they say of themselves; says why others are not taken.
    """
    if not config.extendable or config.rerun or identity.directory.path.exists():
        return
    found = []
    for directory in _of_fewer_steps(config, identity, steps):
        last = read_entry(directory.checkpoints / LAST)
        if last is None:
            continue
        try:
            why = _unlike(directory, directory.manifest(), config)
        except GptexpError as error:
            why = error.problems[0].told()
        if why is None:
            found.append((directory.path, last.step))
        else:
            log.info("%s is not extended: %s", directory.path, why)
    yield from sorted(found, key=lambda run: (-run[1], run[0]))


class _Told(NamedTuple):
    """What a manifest says of the config, and how long the run is."""

    config_hash: str | None
    beginning_hash: str | None  # None of an earlier gptexp
    steps: int


@lru_cache(maxsize=100_000)  # each point of a grid asks of all runs beside it
def _told(folder: Path, stamp: tuple[int, int]) -> _Told:
    """What the manifest in a folder says, as it was at `stamp`; raises DamagedError."""
    manifest = RunDirectory(folder).manifest()
    steps = manifest.get("max_steps", 0)
    return _Told(manifest.get("config_hash"), manifest.get("beginning_hash"), steps)


def _of_fewer_steps(config: Config, identity: Identity, steps: int) -> Iterator[RunDirectory]:
    """The runs of outputs/ with the same config, data and start weights, and fewer steps.

    A warm-up that was shortened to a run under a budget is none of a longer run.
    """
    path, files = identity.directory.path, (identity.data_sha256, identity.start_sha256)
    beginning, hashes = beginning_hash(config, *files), dict[int, str]()
    for file in path.parents[1].glob(f"*/{path.name.rpartition('-')[0]}-????????/manifest.json"):
        try:
            stat = file.stat()
            told = _told(file.parent, (stat.st_mtime_ns, stat.st_ino))
        except (GptexpError, OSError):  # which is that run's own matter
            continue
        if not max(0, config.schedule.warmup_steps - 1) < told.steps < steps:
            continue
        if told.beginning_hash is None and not config.trainer.budgets:
            if told.steps not in hashes:
                own = replace(config, trainer=replace(config.trainer, max_steps=told.steps))
                hashes[told.steps] = config_hash(own, *files)
            is_shorter = told.config_hash == hashes[told.steps]
        else:
            is_shorter = told.beginning_hash == beginning
        if is_shorter:
            yield RunDirectory(file.parent)


def _tell_of_branch(config: Config, identity: Identity, steps: int) -> None:
    """Say of the farthest run of fewer steps that a branch could go on from it."""
    bases = []
    for directory in _of_fewer_steps(config, identity, steps):
        with contextlib.suppress(GptexpError):
            bases.append(find_base(str(directory.path)))
    if bases:
        base = max(bases, key=lambda base: base.entry.step)
        log.info(
            "%s has %s steps under its own %s; to go on from there: branch_from=%s",
            base.directory.path,
            f"{base.entry.step:,}",
            config.schedule.name,
            f"{base.directory.path} trainer.max_steps={steps}",
        )


def _unlike(directory: RunDirectory, manifest: Manifest, config: Config) -> str | None:
    """Why a shorter run is not the beginning of this one; None where it may be.

    Raises ConfigError.
    """
    if (code := other_code(manifest)) is not None:
        return code
    if (state := directory.state()) is RunState.diverged:
        return "it diverged, and a longer run would too"
    if state not in (RunState.done, *WORKED_IN):
        return f"its status is {state}"
    if (setting := other_setting(directory.config(), config)) is not None:
        return setting
    own, theirs = plugins.sources(config.plugins), manifest.get("plugins", [])
    if own != theirs or any(plugin["sha256"] is None for plugin in own):
        return "it has other own code, or such whose file is not known"
    return None


def _go_on_from(record: Record, config: Config, identity: Identity, steps: int) -> int:
    """Put the run's beginning in its directory, in one step; returns the updates that are done.

    The caller holds the lock of the record's directory. Where another process went on with it since
    it was read, its checkpoint has no lines in the record. Raises _NotExtendedError, GptexpError
    and OSError.
    """
    newest = Store(record.directory.checkpoints).latest()
    if newest is None or newest.state["config_hash"] != record.manifest["config_hash"]:
        raise _NotExtendedError("it has no checkpoint of its own")
    step, cfg = newest.entry.step, config.trainer
    branched = record.manifest.get("branched", {}).get("step", -1)  # up to there as it came
    metrics = [
        line
        for line in record.metrics
        if line["step"] <= branched or (line["step"] <= step and _is_due(line, cfg))
    ]
    samples = [
        line for line in record.samples if line["step"] <= branched or sampled(line, step, cfg)
    ]
    _check_lines(metrics, samples, range(branched + 1, step + 1), cfg)
    stop = _stop_after(metrics, branched, cfg)
    if cfg.on_overfit is OnOverfit.stop and stop.should_stop:
        raise _NotExtendedError(
            f"patience stopped it at step {step:,}, where a longer run would stop too"
        )
    changes = {"best_step": stop.best_step, "stop": stop.state_dict()}
    own = {
        "max_steps": steps,
        "extended": {"run": str(record.path), "step": step},
    }
    reason = f"extends {record.path} from step {step:,}; the same command goes on"
    Beginning(record, newest, changes, metrics, samples).make(config, identity, own, reason)
    return step


def _is_due(line: Line, cfg: TrainerConfig) -> bool:
    """Whether a line of metrics.jsonl comes at its interval, and not at the end of a run alone."""
    interval = cfg.eval_interval if "val/loss" in line else cfg.log_interval
    return bool(line["step"] % interval == 0)


def sampled(line: Line, until: int, cfg: TrainerConfig) -> bool:
    """Whether a line of samples.jsonl comes at its interval, up to a step."""
    every = cfg.sample_interval
    return every > 0 and 0 < line["step"] <= until and line["step"] % every == 0


def _check_lines(
    metrics: list[Line], samples: list[Line], steps: range, cfg: TrainerConfig
) -> None:
    """Check that the journals hold each line that is due at these steps, once.

    Not so where an earlier process had other intervals. Raises _NotExtendedError.
    """
    evaluated = [line["step"] for line in metrics if "val/loss" in line]
    logged = [line["step"] for line in metrics if "val/loss" not in line]
    due = [
        (evaluated, range(0, steps.stop, cfg.eval_interval), "eval_interval"),
        (logged, range(cfg.log_interval, steps.stop, cfg.log_interval), "log_interval"),
    ]
    if every := cfg.sample_interval:
        drawn = [line["step"] for line in samples]
        due.append((drawn, range(every, steps.stop, every), "sample_interval"))
    for found, wanted, key in due:
        if [s for s in found if s in steps] != [s for s in wanted if s in steps]:
            raise _NotExtendedError(
                f"its journals are not those of trainer.{key}={getattr(cfg, key)}"
            )


def _stop_after(metrics: list[Line], branched: int, cfg: TrainerConfig) -> EarlyStopping:
    """What these evaluations come to: an evaluation at the end alone counts for nothing.

    Patience is counted anew from the step where the run was branched from another.
    """
    stop = EarlyStopping(cfg.patience, cfg.min_delta)
    for line in metrics:
        if "val/loss" in line:
            stop.update(curves(line)["val/loss"], line["step"])
        if line["step"] <= branched:
            stop.renew()
    return stop
