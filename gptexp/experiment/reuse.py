"""A run that is finished in another folder of outputs/, taken over from there. Torch-free.

A directory's name holds its config's hash, so a run of the same name is the same run, if the code
is what it was. Checkpoints and event files are never written in place: they get a second name, by
hard links. Journals and run.log may be appended to, and are copied. So each of the two directories
stays whole, whatever becomes of the other.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gptexp.config import Config, is_hashed, to_dict, to_yaml
from gptexp.errors import GptexpError
from gptexp.experiment.identity import Identity
from gptexp.experiment.integrity import read_whole
from gptexp.experiment.record import Record
from gptexp.experiment.screen import EVENTS
from gptexp.files import copy_file, link_or_copy, made_aside
from gptexp.runs import provenance
from gptexp.runs.directory import RunDirectory, code_digest
from gptexp.runs.log import logged_to
from gptexp.runs.schema import Manifest
from gptexp.runs.seal import JOURNALS, SEAL, sealed
from gptexp.runs.secrets import masked
from gptexp.runs.state import Outcome, RunState
from gptexp.runs.summary import best_val_loss
from gptexp.text import in_shell, listed

log = logging.getLogger(__name__)


def reused(config: Config, identity: Identity, overrides: list[str]) -> Outcome | None:
    """Make the run of the files of the same run elsewhere; None where it is to be trained.

    It appears under its name whole or not at all. Says why a run is not taken.
    """
    directory = identity.directory
    for source in others(config, identity):
        try:
            with RunDirectory(source).locked():
                record = read_whole(source)
                with made_aside(directory.path) as folder:
                    _fill(RunDirectory(folder), record, config, overrides)
            with logged_to(directory.log):
                same = "the same config, code and data; its files are linked"
                log.info("reused  %s: %s", source, same)
            summary = directory.summary()
        except (GptexpError, OSError) as error:  # as where another process was faster
            log.info("%s is not reused: %s", source, error)
            continue
        best = None if summary is None else best_val_loss(summary)
        note = f"reused from {source.parent.name}"
        return Outcome(RunState.done, directory.path, best, note=note)
    return None


def others(config: Config, identity: Identity) -> Iterator[Path]:
    """The finished runs of other folders that are what this config would train anew.

    By what they say of themselves: their files are not read yet.
    """
    path = identity.directory.path
    if config.rerun or path.exists():
        return
    for summary in sorted(path.parents[1].glob(f"*/{path.name}/summary.json")):
        source = summary.parent
        try:
            why = _unlike(source, config, identity)
        except GptexpError as error:
            why = error.problems[0].told()
        if why is None:
            yield source
        else:
            log.info("%s is not reused: %s", source, why)


def _unlike(source: Path, config: Config, identity: Identity) -> str | None:
    """Why a finished run is not what this config would leave; None where it is.

    Raises ConfigError and DamagedError.
    """
    directory = RunDirectory(source)
    manifest = directory.manifest()
    if manifest.get("config_hash") != identity.hash:
        return "it has another config, whose hash begins alike"
    if (code := other_code(manifest)) is not None:
        return code
    if directory.state() is not RunState.done:
        return f"its status is {directory.state()}"
    if (setting := other_setting(directory.config(), config)) is not None:
        return setting
    if config.plugins or manifest.get("plugins"):
        return "own code may be told of a run while it trains"
    if config.logger.wandb:
        return "W&B is told of a run while it trains"
    if config.logger.tensorboard and not any(source.glob(EVENTS)):
        fix = f"gptexp export {in_shell(source)} --to tensorboard"
        return f"TensorBoard has none of it; {fix} mends that"
    return None


def other_setting(stored: Config, config: Config) -> str | None:
    """In what a run was sampled, logged or kept in another way than this config wants it."""
    theirs, own = to_dict(stored)["trainer"], to_dict(config)["trainer"]
    indifferent = {"retry_failed", "activation_checkpointing", "parallel", "rank_timeout"}
    indifferent |= set() if own["profile"] else {"profile"}
    for key in own:
        is_free = not is_hashed(f"trainer.{key}") and key not in indifferent
        if is_free and theirs[key] != own[key]:
            return f"it has trainer.{key}={theirs[key]}, and this {own[key]}"
    return None


def other_code(manifest: Manifest) -> str | None:
    """Why a run is not one of this code alone; None where it is."""
    if code_digest(manifest) == code_digest(Manifest(sources=provenance.sources())):
        return None
    changed = provenance.changed(manifest.get("sources", {}))
    return f"made by other code: {listed(changed) or 'before it was resumed'}"


def _fill(new: RunDirectory, record: Record, config: Config, overrides: list[str]) -> None:
    """Fill a new directory with the run, under the name and the logger of this config.

    What else config.yaml and manifest.json hold is what it was trained with.
    """
    old, manifest, summary = record.directory, record.manifest, record.summary
    assert summary is not None, "it is done"
    new.checkpoints.mkdir(parents=True)
    linked = [*old.checkpoints.glob("*.pt")]
    linked += old.path.glob(EVENTS) if config.logger.tensorboard else []
    for path in linked:
        link_or_copy(path, new.path / path.relative_to(old.path))
    copied = [*old.checkpoints.glob("*.json"), *(old.path / name for name in JOURNALS)]
    copied += [old.log] if old.log.is_file() else []
    for path in copied:
        copy_file(path, new.path / path.relative_to(old.path))
    kept = replace(record.config(), name=config.name, logger=config.logger)
    new.write_text("config.yaml", to_yaml(kept))
    origin = {"run": str(old.path), "command": manifest.get("command", [])}
    own = {"command": provenance.command(), "overrides": [masked(word) for word in overrides]}
    new.write_json("manifest.json", resealed(manifest, {**own, "reused": origin}))
    new.write_json("summary.json", resealed(summary, {"config": to_dict(kept)}))
    new.set_status(RunState.done, summary["stop_reason"])


def resealed(value: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    """The content of a sealed file with these changes."""
    return sealed({key: item for key, item in {**value, **changes}.items() if key != SEAL})
