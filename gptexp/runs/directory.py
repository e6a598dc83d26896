"""A run is its directory: who works in it, what became of it, what it says of itself."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gptexp.config import Config, from_yaml, stored_config
from gptexp.errors import ConfigError, DamagedError, InUseError, Problem
from gptexp.files import (
    json_sha256,
    read_regular,
    readable,
    storage_errors,
    sweep_temporaries,
    write_json,
    write_text,
)
from gptexp.runs.schema import (
    Manifest,
    Process,
    Status,
    Summary,
    read_manifest,
    read_status,
    read_summary,
)
from gptexp.runs.seal import sealed
from gptexp.runs.state import RECORDED, RunState

OUTPUTS = Path("outputs")

MOST_CONFIG = 2**20  # bytes of a config.yaml

LOCK_SECONDS = 1.0  # for whoever only looks whether it is held, see RunDirectory.held


@dataclass(frozen=True)
class RunDirectory:
    """`outputs/<name>/<run>`."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """The file that holds what the screen showed, with times."""
        return self.path / "run.log"

    def summary(self) -> Summary | None:
        """The content of summary.json, whose presence means that the run is finished.

        Raises DamagedError.
        """
        return read_summary(self.path)

    def manifest(self) -> Manifest:
        """The content of manifest.json; empty when there is none; raises DamagedError."""
        return read_manifest(self.path)

    def status(self) -> Status | None:
        """The content of status.json; None when there is none, or when it is damaged.

        It tells people of the run, and whatever goes on with the run writes it anew.
        """
        with contextlib.suppress(DamagedError):
            return read_status(self.path)
        return None

    def diverged(self) -> bool:
        """Whether status.json says that a loss or gradient was not finite."""
        status = self.status()
        return status is not None and status["state"] == RunState.diverged

    def state(self) -> RunState | None:
        """The state in status.json, or `killed` where nothing was left to say so.

        None without a status, `unknown` for one that no run has. Without a look at the summary: a
        run that has one is done, whatever its status says.
        """
        status = self.status()
        if status is None:
            return None
        if (state := status["state"]) not in RECORDED:
            return RunState.unknown
        gone = state == RunState.running and not self.held()
        return RunState.killed if gone else RunState(state)

    def status_stamp(self) -> tuple[int, int] | None:
        """Another one after each set_status, even of the same words; None without status.json."""
        try:
            stat = (self.path / "status.json").stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def config(self, fix: str = "restore it") -> Config:
        """The config of config.yaml; raises ConfigError, with that fix, where it cannot be read."""
        path = self.path / "config.yaml"
        try:
            text = read_regular(path, MOST_CONFIG).decode()
        except OSError as error:
            raise ConfigError(Problem(path, f"{error.strerror}", readable(error, fix))) from error
        except ValueError as error:
            raise ConfigError(Problem(path, f"not readable: {error}", fix)) from error
        with stored_config(str(path), fix):
            return from_yaml(text)

    def set_status(
        self,
        state: RunState,
        reason: str = "",
        what: str = "",
        files: dict[str, str] | None = None,
    ) -> None:
        """Record one of RECORDED, with one line why, and that line without its fix.

        `files` are the digests of journals that have come to an end. Raises StorageError.
        """
        assert state in RECORDED
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        ends = {"files": files} if files else {}
        write_json(
            self.path / "status.json",
            sealed({"state": state, "reason": reason, "what": what or reason, **owner, **ends}),
        )

    def same_path_other_content(self, path: str | None, sha256: str) -> tuple[Path, str] | None:
        """A run beside this one, of the same name but for the hash, that read other bytes there.

        Returns its directory and their SHA-256.
        """
        if path is None:
            return None
        for other in sorted(self.path.parent.glob(f"{self.path.name.rpartition('-')[0]}-*")):
            with contextlib.suppress(DamagedError):  # which is that run's own matter
                data = read_manifest(other).get("data", {})
                if data.get("path") == path and data.get("sha256", sha256) != sha256:
                    return other, data["sha256"]
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory and be the only process that writes in it.

        Raises InUseError, naming the other process, and StorageError.
        """
        from filelock import FileLock, Timeout  # not for a run that is over

        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=LOCK_SECONDS)
        with storage_errors(self.path / ".lock"):
            try:
                lock.acquire()
            except Timeout as error:
                status = self.status()
                pid, host = (status.get("pid"), status.get("host")) if status else (None, None)
                raise InUseError(
                    Problem(
                        self.path,
                        f"in use by process {pid or '?'} on {host or '?'}",
                        "wait for it, or stop it",
                    )
                ) from error
        try:
            sweep_temporaries(self.path)
            sweep_temporaries(self.checkpoints)
            yield
        finally:
            lock.release()

    def held(self) -> bool:
        """Whether a process works in the directory; true where that cannot be found out.

        Writes nothing.
        """
        if not (self.path / ".lock").exists():
            return False
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.path / ".lock", timeout=0):
                return False
        except (Timeout, OSError):
            return True

    def move_aside(self) -> Path:
        """Rename the directory out of the way, keeping all of it; returns where it went."""
        number = 1
        while (old := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        with self.locked(), storage_errors(self.path):
            self.path.rename(old)
        return old

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the directory atomically; raises StorageError."""
        write_text(self.path / name, text)

    def write_json(self, name: str, value: Mapping[str, object]) -> None:
        """Write a file of the directory atomically; raises StorageError."""
        write_json(self.path / name, value)


def hashed_code(manifest: Manifest) -> dict[str, str]:
    """The digests of an own model's, optimizer's or tokenizer's sources, by file."""
    modules = manifest.get("plugins", [])
    return {name: digest for module in modules for name, digest in module.get("files", {}).items()}


def code_digest(manifest: Manifest) -> str | None:
    """One SHA-256 for the package's sources in a manifest; None when it holds none.

    Of a run that went on under other code it covers each state of the code, so that such a run is
    like no run of one code alone.
    """
    resumes = manifest.get("resumes", [])
    before = [resume.get("before", Process()).get("sources") for resume in resumes]
    states = [state for state in (*before, manifest.get("sources")) if state]
    different = [state for i, state in enumerate(states) if i == 0 or state != states[i - 1]]
    return json_sha256(different) if different else None
