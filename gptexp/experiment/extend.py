"""A run that goes on from another one's checkpoint, as if it had made its steps.

While the learning rate is at its peak, no update depends on trainer.max_steps. So a run under a
constant one, and one under warm-up, stable, decay up to its decay, is the beginning of any other
that has these updates too, but for what its end called for: a line of the training loss, an
evaluation and a sample off their intervals. These are left out, and what validation came to is
counted anew over the evaluations that stay.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gptexp import plugins
from gptexp.config import (
    AUTO,
    Config,
    OnOverfit,
    TrainerConfig,
    beginning_hash,
    config_hash,
    without_end,
)
from gptexp.errors import GptexpError
from gptexp.experiment.beginning import Beginning, Line
from gptexp.experiment.identity import Identity
from gptexp.experiment.integrity import read_whole
from gptexp.experiment.record import WORKED_IN, Record
from gptexp.experiment.reuse import other_code, other_setting
from gptexp.experiment.start import find_base
from gptexp.runs.checkpoint import State, Store
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import Entries
from gptexp.runs.journal import LOOK, curves, lowest
from gptexp.runs.log import logged_to
from gptexp.runs.schema import Manifest
from gptexp.runs.state import RunState
from gptexp.training.early_stopping import EarlyStopping

log = logging.getLogger(__name__)


class _NotExtendedError(Exception):
    """Another run is not the beginning of this one, in words."""


def extend(config: Config, identity: Identity, trainer: TrainerConfig) -> None:
    """Make the run's directory of one that begins alike, if there is one, to be taken up there.

    `trainer` says how long it is to be, and whether compiled. It appears under its name whole or
    not at all. Says which run it extends, or why not, and where it could branch from a shorter one.
    """
    directory, steps = identity.directory, trainer.max_steps
    for source, _ in beginnings(config, identity, steps):
        try:
            record = read_whole(source)  # a killed run would be `running` under our own lock
            with record.directory.locked():
                _check_compiled(record, config, trainer)
                step = _go_on_from(record, config, identity, steps)
        except (_NotExtendedError, GptexpError, OSError) as error:
            log.info("%s is not extended: %s", source, error)
            continue
        with logged_to(directory.log):
            log.info("extends %s from step %s", source, f"{step:,}")
        return
    is_new = not (config.rerun or config.branch_from or directory.path.exists())
    if is_new and not config.schedule.trunk_share:
        _tell_of_branch(config, identity, steps)


def beginnings(config: Config, identity: Identity, steps: int) -> Iterator[tuple[Path, int]]:
    """The runs of outputs/ that this one would go on from, each with the step of its checkpoint.

    The farthest one first, by what they say of themselves; says why others are not taken.
    """
    if config.rerun or identity.directory.path.exists():
        return
    runs = []
    for directory, told in _alike(config, identity, steps):
        until = _shared(config, steps, told.trunk_steps)
        entry = next(iter(Entries(directory.checkpoints).newest_first(until)), None)
        if entry is None or entry.step == 0:
            continue
        try:
            why = _unlike(directory, directory.manifest(), config)
        except GptexpError as error:
            why = error.problems[0].told()
        if why is None:
            runs.append((directory.path, entry.step))
        else:
            log.info("%s is not extended: %s", directory.path, why)
    yield from sorted(runs, key=lambda run: (-run[1], run[0]))


def _shared(config: Config, steps: int, trunk_steps: int) -> int:
    """The most updates that a run of so many takes from one with that trunk; its own end is not."""
    return min(config.trunk_steps(steps), trunk_steps, steps - 1)


class _Told(NamedTuple):
    """What a manifest says of the config, and how long the run and its trunk are."""

    config_hash: str | None
    beginning_hash: str | None  # None of an earlier gptexp
    steps: int
    trunk_steps: int


@lru_cache(maxsize=100_000)  # each point of a grid asks of all runs beside it
def _told(folder: Path, stamp: tuple[int, int]) -> _Told:
    """What the manifest in a folder says, as it was at `stamp`; raises DamagedError."""
    manifest = RunDirectory(folder).manifest()
    steps, own = manifest.get("max_steps", 0), manifest.get("config_hash")
    return _Told(own, manifest.get("beginning_hash"), steps, manifest.get("trunk_steps", steps))


def _alike(config: Config, identity: Identity, steps: int) -> Iterator[tuple[RunDirectory, _Told]]:
    """The other runs of outputs/ with the same config but for its end, data and start weights.

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
        shorter = min(steps, told.steps)
        if shorter < max(1, config.schedule.warmup_steps) or told.config_hash == identity.hash:
            continue
        if told.beginning_hash is None and not config.trainer.budgets:
            if told.steps not in hashes:
                own = without_end(config, max_steps=told.steps)
                hashes[told.steps] = config_hash(own, *files)
            is_alike = told.config_hash == hashes[told.steps]
        else:
            is_alike = told.beginning_hash == beginning
        if is_alike:
            yield RunDirectory(file.parent), told


def _tell_of_branch(config: Config, identity: Identity, steps: int) -> None:
    """Say of the farthest run of fewer steps that a branch could go on from it."""
    bases = []
    for directory, told in _alike(config, identity, steps):
        with contextlib.suppress(GptexpError):
            if told.steps < steps:
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
    """Why a run is not the beginning of this one; None where it may be.

    Raises ConfigError.
    """
    if (code := other_code(manifest)) is not None:
        return code
    if (state := directory.state()) is RunState.diverged:
        return "it diverged"
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
    manifest = record.manifest
    until = _shared(config, steps, manifest.get("trunk_steps", manifest["max_steps"]))
    newest = Store(record.directory.checkpoints).latest(until)
    if newest is None or newest.state["config_hash"] != manifest["config_hash"]:
        raise _NotExtendedError("it has no checkpoint of its own")
    step, cfg = newest.entry.step, config.trainer
    if step > until:  # another than its entry says
        raise _NotExtendedError(f"its checkpoint is of step {step:,}")
    branched = manifest.get("branched", {}).get("step", -1)  # up to there as it came
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
            f"patience stopped it at step {step:,}, where this run would stop too"
        )
    changes = {"best_step": stop.best_step, "stop": stop.state_dict()}
    if (averages := newest.state.get("averages")) is not None:
        changes["averages"] = _judged_again(averages, metrics)
    own = {"max_steps": steps, "extended": {"run": str(record.path), "step": step}}
    reason = f"extends {record.path} from step {step:,}; the same command goes on"
    Beginning(record, newest, changes, metrics, samples).make(config, identity, own, reason)
    return step


def _judged_again(averages: State, metrics: list[Line]) -> State:
    """The averages of a checkpoint, with what these evaluations of them come to."""
    again = {}
    for kind, part in averages.items():
        best = lowest(metrics, f"val/{kind}_loss") or {"step": -1, f"val/{kind}_loss": math.inf}
        again[kind] = {**part, "best_step": best["step"], "best_loss": best[f"val/{kind}_loss"]}
    return again


def _check_compiled(record: Record, config: Config, trainer: TrainerConfig) -> None:
    """Raises _NotExtendedError where trainer.compile=auto came to another thing in the record."""
    told = record.manifest["environment"].get("compiled", trainer.compile)
    if config.trainer.compile == AUTO and told != trainer.compile:
        words = ("it was not compiled, which pays", "it was compiled, which does not pay")[told]
        raise _NotExtendedError(f"{words} in this one (trainer.compile=auto)")


def _is_due(line: Line, cfg: TrainerConfig) -> bool:
    """Whether a line of metrics.jsonl comes at its interval, and not at the end of a run alone."""
    if LOOK in line:
        return True
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
    by_key = {
        "eval_interval": [line["step"] for line in metrics if "val/loss" in line],
        "log_interval": [line["step"] for line in metrics if "train/loss" in line],
        "diagnostics_interval": [line["step"] for line in metrics if LOOK in line],
        "sample_interval": [line["step"] for line in samples],
    }
    for key, written in by_key.items():
        every, first = getattr(cfg, key), 0 if key == "eval_interval" else 1
        due = [step for step in steps if every and step >= first and step % every == 0]
        if [step for step in written if step in steps] != due:
            raise _NotExtendedError(f"its journals are not those of trainer.{key}={every}")


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
