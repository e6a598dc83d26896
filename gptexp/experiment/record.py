"""What the files of a run directory say. Torch-free; read and checked by integrity.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gptexp.config import Config, from_dict
from gptexp.config.own import own_code
from gptexp.errors import OtherCodeError
from gptexp.experiment.verdict import Finding, Verdict
from gptexp.runs.directory import RunDirectory, hashed_code
from gptexp.runs.entries import Entry
from gptexp.runs.schema import Manifest
from gptexp.runs.state import RunState

# Whose process may have ended between two writes.
WORKED_IN = (RunState.killed, RunState.failed, RunState.interrupted, RunState.pruned)


@dataclass
class Record:
    """What a run directory says; `damage` holds what is wrong with its files."""

    directory: RunDirectory
    state: RunState
    damage: list[Finding] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] | None = None  # of a run that is done
    values: dict[str, Any] = field(default_factory=dict)  # of config.yaml
    metrics: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)  # of the checkpoints, by step
    best: Entry | None = None
    retired: bool = False  # whether the code of today lacks a key of its config

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def resumed(self) -> bool:
        """Whether more than one process worked on it, which may have looked more often or less."""
        return bool(self.manifest.get("resumes"))

    @property
    def reused(self) -> bool:
        """Whether it was trained under another name, and with another logger."""
        return bool(self.manifest.get("reused"))

    @property
    def begun(self) -> int:
        """The updates that were done when it began, as those of the run it branches from."""
        return int(self.manifest.get("branched", {}).get("step", 0))

    def config(self) -> Config:
        """The config of config.yaml; raises ConfigError."""
        try:
            return from_dict(self.values)
        except OtherCodeError as error:
            raise error.of(self.path) from error

    def changed_own_code(self) -> list[str]:
        """The files of own variants that are not here as the run had them."""
        stored, current = hashed_code(cast(Manifest, self.manifest)), own_code(self.config())
        files = {name: digest for code in current.values() for name, digest in code.items()}
        return sorted(name for name in files if files[name] != stored.get(name))

    def last_step(self) -> int:
        """The last step that a line or a checkpoint tells of."""
        return max([*(line["step"] for line in self.metrics), *self.entries, 0])

    def differs(self, file: str, what: str) -> None:
        """Note what is wrong with a file."""
        self.damage.append(Finding(file, what, Verdict.DIFFERENT))
