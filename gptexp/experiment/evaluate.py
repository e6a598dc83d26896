"""`gptexp evaluate`: the exact loss of a run's best weights, on its own text or on another one."""

import logging
import math
from dataclasses import replace
from pathlib import Path

from gptexp.config import DataConfig, check, from_overrides
from gptexp.data.corpus import SPLITS
from gptexp.data.find import find_corpus
from gptexp.data.load import Content, LoadedCorpus, read_corpus, split_corpus, whole_corpus
from gptexp.data.read import corpus_digest, source
from gptexp.errors import ConfigError, DataError, Problem
from gptexp.inference.answers import Answered
from gptexp.inference.load import LoadedRun, load_run
from gptexp.inference.mixed import Mixed
from gptexp.runs.directory import RunDirectory
from gptexp.text import plural

log = logging.getLogger(__name__)


def evaluate_run(
    run: Path,
    split: str | None,
    overrides: list[str],
    device: str = "cpu",
    weights: str = "raw",
) -> str:
    """One line: the loss over one part of the text, in nats per token and bits per byte.

    And one for each part of a mix, whose mean by their shares is the first, or for the answers of
    conversations.

    `overrides` choose another text, as for run.py: data=text data.path=FILE. Without a `split` that
    is judged as a whole, and the run's own text by its validation split. In the dtype of the run's
    weights, whatever its products were trained in. Raises CheckpointError, ConfigError, DataError.
    """
    if split is not None and split not in SPLITS:
        what, fix = f"{split!r} is not known", f"one of {', '.join(SPLITS)}"
        raise ConfigError(Problem("--split", what, fix))
    loaded = load_run(run, device, weights)
    own = loaded.config
    data, sha256 = _data(overrides) if overrides else own.data, None
    if own.data.has_text or not overrides:
        check(own)
    check_part(split, data)
    if data.mask_documents and not own.data.mask_documents:
        what = "true, and the run was trained without, which holds wherever it is judged"
        raise ConfigError(Problem("data.mask_documents", what, "leave it out"))
    if not overrides:
        data, sha256 = own_corpus(run, data)
    text = read_corpus(data, sha256)
    if split is None and overrides:
        cut = whole_corpus(data, text, loaded.tokenizer, own.model.block_size)
    else:
        cut = _part(loaded, data, text, split or "val")
    judged = loaded.judged(cut, split or "val")
    bits = "" if math.isnan(judged.bpb) else f" ({judged.bpb:.3f} bits per byte)"
    part = split or ("all" if overrides else "val")
    of_parts = judged.parts.items() if isinstance(judged, Mixed) else ()
    lines = [
        f"        {one.loss:.4f} ({one.bpb:.3f} bits per byte), standard error {one.stderr:.4f}, "
        f"over {one.tokens:,} tokens of {name}"
        for name, one in of_parts
    ]
    if isinstance(judged, Answered):
        right = f"        {judged.accuracy:.1%} of {plural(judged.answers, 'answer')} right to the "
        lines.append(f"{right}letter, by greedy decoding")
    first = (
        f"{part:7} {judged.loss:.4f} nats per token{bits}, standard "
        f"error {judged.stderr:.4f}, over {judged.tokens:,} tokens of {cut.source}; "
        f"{'' if weights == 'raw' else f'{weights} of the '}weights of step {loaded.step:,}"
    )
    return "\n".join([first, *lines])


def own_text(loaded: LoadedRun, *splits: str) -> LoadedCorpus:
    """A run's own corpus, with these splits alone; raises ConfigError and DataError."""
    check(loaded.config)
    data, sha256 = own_corpus(loaded.path, loaded.config.data)
    text = read_corpus(data, sha256)
    return _part(loaded, data, text, *splits)


def _part(loaded: LoadedRun, data: DataConfig, text: Content, *splits: str) -> LoadedCorpus:
    """Splits of a corpus, for the context of the run; windows may be shorter than that."""
    cut = split_corpus(data, text, loaded.tokenizer, 1, needed=splits)
    return replace(cut, block_size=loaded.config.model.block_size)


def check_part(split: str | None, data: DataConfig) -> None:
    """Raise ConfigError for a test part that the text does not have."""
    if split == "test" and not data.test_fraction:
        raise ConfigError(Problem("--split", "the text has no test part", "--split val"))


def own_corpus(run: Path, data: DataConfig) -> tuple[DataConfig, str]:
    """A run's own corpus and its digest, wherever it is now; raises DataError.

    With a warning where it has changed since the run's training.
    """
    manifest = RunDirectory(run).manifest() if run.is_dir() else {}
    trained = manifest.get("data", {}).get("sha256")
    try:
        sha256 = corpus_digest(data)
    except DataError:
        if trained is None:
            raise
        return find_corpus(data, trained, run), trained
    if trained not in (None, sha256):
        log.warning("%s has changed since the run was trained on it", source(data))
    return data, sha256


def _data(overrides: list[str]) -> DataConfig:
    """The section that the overrides choose; raises ConfigError."""
    foreign = [word for word in overrides if not word.startswith(("data=", "data."))]
    if foreign or not any(word.startswith("data=") for word in overrides):
        what = f"{foreign[0]} is none of data" if foreign else "no data=... among them"
        raise ConfigError(Problem("overrides", what, "data=text data.path=FILE, for one"))
    config = from_overrides(overrides)
    check(config)
    return config.data
