"""Which run a config names, known before anything large is read.

Torch-free, but for an init_from that is a lone checkpoint file, or of an earlier gptexp.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from gptexp.config import (
    ByteTokenizerConfig,
    CharTokenizerConfig,
    Config,
    GPT2TokenizerConfig,
    check,
    config_hash,
    run_name,
)
from gptexp.data.characters import corpus_characters
from gptexp.data.read import corpus_digest
from gptexp.errors import GptexpError, StorageError
from gptexp.experiment.start import Base, check_branch, find_base, named_path
from gptexp.files import in_the_way
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import weights_digest
from gptexp.runs.provenance import fingerprint


class Start(NamedTuple):
    """What stands behind init_from, by digests."""

    weights: str
    vocabulary: str

    @property
    def untold(self) -> str:
        """Both digests: how a start counts whose vocabulary neither config nor text tells.

        Otherwise the weights count alone. So they did for every start, once.
        """
        return f"{self.weights} {self.vocabulary}"


@dataclass(frozen=True)
class Identity:
    """All that tells a run from others."""

    data_sha256: str
    start_sha256: str | None  # of the weights behind init_from, see Start.untold, or Base.digest
    hash: str  # of the config, with both
    directory: RunDirectory
    start: Start | None = None  # what init_from comes to
    base: Base | None = None  # the run behind branch_from


def to_be_replaced(config: Config, directory: RunDirectory) -> bool:
    """Whether what stands in the directory is to go, so that the run starts anew."""
    wanted = config.rerun or (config.trainer.retry_failed and directory.diverged())
    return wanted and directory.path.exists()


def identify(config: Config, outputs: Path) -> Identity:
    """The hash and the directory of the run.

    Raises ConfigError, DamagedError, DataError, CheckpointError, and StorageError where none can
    be.
    """
    check(config)
    data_sha256 = corpus_digest(config.data)
    if config.branch_from is not None:
        identity = _branched(config, outputs, data_sha256, config.branch_from)
    elif config.init_from is None:
        identity = _identity(config, outputs, data_sha256, None)
    else:
        identity = _started(config, outputs, data_sha256, config.init_from)
    if (obstacle := in_the_way(identity.directory.path / "config.yaml")) is not None:
        raise StorageError(obstacle)
    return identity


def _identity(
    config: Config, outputs: Path, data_sha256: str, start_sha256: str | None
) -> Identity:
    hashed = config_hash(config, data_sha256, start_sha256)
    path = outputs / config.name / run_name(config, hashed)
    return Identity(data_sha256, start_sha256, hashed, RunDirectory(path))


def _branched(config: Config, outputs: Path, data_sha256: str, branch_from: str) -> Identity:
    """The identity of a run that goes on from another one's checkpoint."""
    base = find_base(branch_from)
    check_branch(config, base, data_sha256)
    return replace(_identity(config, outputs, data_sha256, base.digest()), base=base)


def _started(config: Config, outputs: Path, data_sha256: str, init_from: str) -> Identity:
    """The identity of a run that starts from another one."""
    with named_init_from():
        run = named_path(init_from)
        start = start_of(run)
    plain = _identity(config, outputs, data_sha256, start.weights)
    if _is_told(start, config, data_sha256) or _is_earlier(plain, run, start, config):
        return replace(plain, start=start)
    return replace(_identity(config, outputs, data_sha256, start.untold), start=start)


def _is_told(start: Start, config: Config, data_sha256: str) -> bool:
    """Whether the vocabulary of the start is the one that the config and its text give anyway."""
    match config.tokenizer:
        case ByteTokenizerConfig() | GPT2TokenizerConfig():
            return True
        case CharTokenizerConfig():
            from gptexp.tokenizers.char import CharTokenizer  # numpy

            own = CharTokenizer(corpus_characters(config.data, data_sha256))
            return vocabulary_digest(own.to_dict()) == start.vocabulary
    return False


def _is_earlier(plain: Identity, run: Path, start: Start, config: Config) -> bool:
    """Whether this very run stands where an earlier gptexp, by the weights alone, has put it."""
    with contextlib.suppress(GptexpError):
        manifest = plain.directory.manifest()
        if manifest.get("config_hash") != plain.hash:
            return False
        vocabulary = start.vocabulary
        if isinstance(config.tokenizer, CharTokenizerConfig) and config.tokenizer.extend:
            from gptexp.inference.weights import read_checkpoint  # torch
            from gptexp.tokenizers.char import CharTokenizer

            theirs = CharTokenizer(read_checkpoint(run)["tokenizer"]["characters"])
            own = corpus_characters(config.data, plain.data_sha256)
            vocabulary = vocabulary_digest(theirs.extended(own).to_dict())
        return manifest.get("tokenizer", {}).get("sha256") == vocabulary
    return False


@contextmanager
def named_init_from() -> Iterator[None]:
    """Have the line of what is wrong with the run behind init_from begin with the key."""
    try:
        yield
    except GptexpError as error:
        first, *others = error.problems
        if not str(first.subject).startswith("init_from"):
            first = replace(first, subject="init_from", what=f"{first.subject}: {first.what}")
        raise type(error)(first, *others) from error


def start_of(run: Path) -> Start:
    """The digests of a run directory, by its best weights, or of a checkpoint.

    Raises CheckpointError.
    """
    weights, vocabulary = weights_digest(run), None
    folder = run.parent.parent if run.parent.name == "checkpoints" else run
    with contextlib.suppress(GptexpError):
        vocabulary = RunDirectory(folder).manifest().get("tokenizer", {}).get("sha256")
    if weights is not None and vocabulary is not None:
        return Start(weights, vocabulary)
    # torch, of an earlier gptexp or a lone file
    from gptexp.inference.weights import read_checkpoint
    from gptexp.runs.checkpoint import digest

    state = read_checkpoint(run)
    return Start(digest(state["model"]), vocabulary_digest(state["tokenizer"]))


def vocabulary_digest(tokenizer: dict[str, Any]) -> str:
    """The digest of what a tokenizer's to_dict gives, as in a manifest."""
    return fingerprint(tokenizer)["sha256"]
