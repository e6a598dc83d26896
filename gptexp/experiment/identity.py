"""Which run a config names, known before anything large is read."""

from dataclasses import dataclass
from pathlib import Path

from gptexp.config import Config, check, config_hash, run_name
from gptexp.data.read import corpus_digest
from gptexp.inference.load import read_checkpoint
from gptexp.runs import checkpoint
from gptexp.runs.directory import RunDirectory


@dataclass(frozen=True)
class Identity:
    """Which run a config names, known before anything large is read."""

    data_sha256: str
    hash: str
    directory: RunDirectory
    init: checkpoint.State | None  # model, tokenizer and config behind init_from


def identify(config: Config, outputs: Path) -> Identity:
    """Hash and directory of the run; raises ConfigError, DataError and CheckpointError."""
    check(config)
    sha256 = corpus_digest(config.data)
    init, init_sha256 = None, None
    if config.init_from is not None:
        state = read_checkpoint(Path(config.init_from))
        init = {key: state[key] for key in ("model", "tokenizer", "config")}
        init_sha256 = checkpoint.digest(init["model"])
    hashed = config_hash(config, sha256, init_sha256)
    path = outputs / config.name / run_name(config, hashed)
    return Identity(sha256, hashed, RunDirectory(path), init)
