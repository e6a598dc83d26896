"""What a run starts from: the weights of init_from, or the run that branch_from goes on with.

Torch-free, but for checkpoints of an earlier gptexp and lone files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptexp.analysis.find import look_up
from gptexp.config import Config, differences
from gptexp.errors import CheckpointError, ConfigError, Problem
from gptexp.files import at_home, json_sha256
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import BEST, LAST, Entries, Entry, read_entry, weights_digest
from gptexp.runs.schema import Manifest, Summary
from gptexp.runs.state import RunState
from gptexp.text import listed

OF_BASE = "in the run of branch_from, whose optimizer and batches go on"


@dataclass(frozen=True)
class Base:
    """The run that branch_from names, and the checkpoint in it to go on from."""

    directory: RunDirectory
    manifest: Manifest
    entry: Entry
    weights_sha256: str

    @property
    def file(self) -> Path:
        """The checkpoint."""
        return self.directory.checkpoints / self.entry.file

    def digest(self) -> str:
        """SHA-256 over its config's hash, the step and the weights.

        Optimizer, streams and curves follow from these, and need no digest of their own.
        """
        return json_sha256([self.manifest["config_hash"], self.entry.step, self.weights_sha256])


def named_path(words: str, key: str = "init_from") -> Path:
    """The run directory or checkpoint behind init_from or branch_from.

    Raises ConfigError for words that may mean another one when the same command is given again.
    """
    path = at_home(words)
    if (run := look_up(words)) is not None and run.why:
        what = f"{words} may mean another run later; now it is {run.path}"
        raise ConfigError(Problem(key, what, f"{key}={run.path}"))
    return path


def find_base(words: str) -> Base:
    """The run behind branch_from; raises ConfigError, DamagedError and CheckpointError."""
    path = named_path(words, "branch_from")
    directory = RunDirectory(path if path.is_dir() else path.parent.parent)
    manifest = directory.manifest()
    if "config_hash" not in manifest or not path.exists():
        what = "is no run" if path.exists() else "is not there"
        fix = "name a run, outputs/NAME/RUN, or one of its checkpoints where it lies"
        raise ConfigError(Problem("branch_from", f"{words} {what}", fix))
    entry = _last(directory) if path.is_dir() else read_entry(path.with_suffix(".json"))
    if entry is None:
        fix = "train it to an evaluation first, or name a checkpoint of another run"
        raise CheckpointError(Problem("branch_from", f"{words} holds no checkpoint", fix))
    return Base(directory, manifest, entry, _weights_of(directory.checkpoints / entry.file))


def _weights_of(file: Path) -> str:
    """The digest of a checkpoint's weights; raises CheckpointError."""
    if (known := weights_digest(file)) is not None:
        return known
    from gptexp.runs.checkpoint import digest, read  # torch: of an earlier gptexp

    return digest(read(file)["model"])


def _last(directory: RunDirectory) -> Entry | None:
    """The entry of the last checkpoint of a run that is over; raises ConfigError for another."""
    last, best = (read_entry(directory.checkpoints / name) for name in (LAST, BEST))
    if (summary := directory.summary()) is not None:
        return last or _kept_last(directory, summary, best)
    if last is not None and directory.state() is not RunState.diverged:
        what = f"{directory.path} is {directory.state()}, and may go on by its own command"
        fix = f"branch_from={directory.checkpoints / last.file}"
        raise ConfigError(Problem("branch_from", what, fix))
    return last


def _kept_last(directory: RunDirectory, summary: Summary, best: Entry | None) -> Entry | None:
    """The best checkpoint of a run that is done, where it is the last; raises ConfigError."""
    steps = summary["final"]["step"]
    if best is None or best.step == steps:
        return best
    kept_steps = sorted(entry.step for entry in Entries(directory.checkpoints).newest_first())
    others = [f"{step:,}" for step in kept_steps if step != best.step]
    kept = f"and that of step {listed(others)}" if others else "alone"
    what = (
        f"{directory.path} is done at step {steps:,}, and kept the checkpoint of its best, of "
        f"step {best.step:,}, {kept} (trainer.keep=all keeps each)"
    )
    fix = f"branch_from={directory.checkpoints / best.file}"
    raise ConfigError(Problem("branch_from", what, fix))


def check_branch(config: Config, base: Base, data_sha256: str) -> None:
    """Check that optimizer, batches and vocabulary of the base mean the same under the config.

    Raises ConfigError with all keys that do not go.
    """
    ConfigError.raise_for(_unlike(config, base, data_sha256))


def _unlike(config: Config, base: Base, data_sha256: str) -> Iterator[Problem]:
    stored = base.directory.config()
    fix = f"leave it out, or init_from={config.branch_from} for the weights alone"
    for key, theirs, ours in differences(stored, config):
        if not is_free(key):
            yield Problem(key, f"{ours}, and {theirs} {OF_BASE}", fix)
    if (rows := stored.trainer.rows) != config.trainer.rows:
        ours = f"{config.trainer.rows} sequences an update, with trainer.grad_accum"
        yield Problem("trainer.batch_size", f"{ours}, and {rows} {OF_BASE}", fix)
    if (told := base.manifest.get("data", {}).get("sha256", data_sha256)) != data_sha256:
        what = f"SHA-256 {data_sha256[:12]}..., and {told[:12]}... {OF_BASE}"
        yield Problem("data.path", what, fix.replace("leave it out", "restore the text"))


def is_free(key: str) -> bool:
    """Whether a branch may have another value of a hashed key: its state fits, its batches stay."""
    section, _, field = key.partition(".")
    free = {
        "model": field in ("name", "dropout"),
        "data": field in ("name", "path", "asset"),  # whose content is compared
        "tokenizer": field == "extend",
        "optim": field not in ("name", "scaling", "base_width"),  # which form its groups
        "schedule": True,
        "trainer": field != "eval_tokens",  # and but for the rows of an update
    }
    return free.get(section, key in ("init_from", "branch_from"))
