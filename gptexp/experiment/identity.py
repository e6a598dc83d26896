"""Which run a config names, known before anything large is read. Torch-free."""

from dataclasses import dataclass
from pathlib import Path

from gptexp.config import Config, check, config_hash, run_name
from gptexp.data.read import corpus_digest
from gptexp.errors import StorageError
from gptexp.files import at_home, in_the_way
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import weights_digest


@dataclass(frozen=True)
class Identity:
    """All that tells a run from others."""

    data_sha256: str
    init_sha256: str | None  # of the weights behind init_from
    hash: str  # of the config, with both
    directory: RunDirectory


def identify(config: Config, outputs: Path) -> Identity:
    """The hash and the directory of the run.

    Raises ConfigError, DataError, CheckpointError, and StorageError where none can be.
    """
    check(config)
    data_sha256 = corpus_digest(config.data)
    init_sha256 = None if config.init_from is None else init_digest(at_home(config.init_from))
    hashed = config_hash(config, data_sha256, init_sha256)
    path = outputs / config.name / run_name(config, hashed)
    if (obstacle := in_the_way(path / "config.yaml")) is not None:
        raise StorageError(obstacle)
    return Identity(data_sha256, init_sha256, hashed, RunDirectory(path))


def init_digest(run: Path) -> str:
    """The digest of the weights; raises CheckpointError."""
    if (known := weights_digest(run)) is not None:
        return known
    from gptexp.inference.load import read_checkpoint  # torch: of an earlier gptexp, or a lone file
    from gptexp.runs.checkpoint import digest

    return digest(read_checkpoint(run)["model"])
