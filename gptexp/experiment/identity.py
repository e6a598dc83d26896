"""Which run a config names, known before anything large is read. Torch-free."""

from dataclasses import dataclass
from pathlib import Path

from gptexp.analysis.find import look_up
from gptexp.config import Config, check, config_hash, run_name
from gptexp.data.read import corpus_digest
from gptexp.errors import ConfigError, Problem, StorageError
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
    init_sha256 = None if config.init_from is None else init_digest(init_path(config.init_from))
    hashed = config_hash(config, data_sha256, init_sha256)
    path = outputs / config.name / run_name(config, hashed)
    if (obstacle := in_the_way(path / "config.yaml")) is not None:
        raise StorageError(obstacle)
    return Identity(data_sha256, init_sha256, hashed, RunDirectory(path))


def init_path(words: str) -> Path:
    """The run directory or checkpoint behind init_from.

    Raises ConfigError for words that may mean another one when the same command is given again.
    """
    path = at_home(words)
    if (found := look_up(words)) is not None and found.why:
        what = f"{words} may mean another run later; now it is {found.path}"
        raise ConfigError(Problem("init_from", what, f"init_from={found.path}"))
    return path


def init_digest(run: Path) -> str:
    """The digest of the weights; raises CheckpointError."""
    if (known := weights_digest(run)) is not None:
        return known
    from gptexp.inference.load import read_checkpoint  # torch: of an earlier gptexp, or a lone file
    from gptexp.runs.checkpoint import digest

    return digest(read_checkpoint(run)["model"])
