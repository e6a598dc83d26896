"""`gptexp evaluate`: the exact loss of a run's best weights, on its own text or on another one."""

import logging
from dataclasses import replace
from pathlib import Path

from gptexp.config import DataConfig, Dtype, check, from_overrides
from gptexp.data.corpus import SPLITS
from gptexp.data.load import read_corpus, split_corpus
from gptexp.data.read import corpus_digest
from gptexp.errors import ConfigError, Problem
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.load import load_run
from gptexp.runs.directory import RunDirectory
from gptexp.runtime.device import probe_hardware, resolve_runtime

log = logging.getLogger(__name__)


def evaluate_run(run: Path, split: str, overrides: list[str], device: str = "cpu") -> str:
    """One line: the loss over one part of the text, in nats per token and bits per byte.

    `overrides` choose another text, as for run.py: data=text data.path=FILE. In float32, whatever
    the run was trained in. Raises CheckpointError, ConfigError, DataError.
    """
    if split not in SPLITS:
        what, fix = f"{split!r} is not known", f"one of {', '.join(SPLITS)}"
        raise ConfigError(Problem("--split", what, fix))
    loaded = load_run(run, device)
    config = replace(loaded.config, data=_data(loaded.config.data, overrides))
    check(config)
    if split == "test" and not config.data.test_fraction:
        raise ConfigError(Problem("--split", "the text has no test part", "--split val"))
    sha256 = corpus_digest(config.data)
    trained = RunDirectory(run).manifest().get("data", {}) if run.is_dir() else {}
    if not overrides and trained and trained.get("sha256") != sha256:
        log.warning("%s has changed since the run was trained on it", config.data.path)
    # Windows may be shorter than the context, so the part that is read alone has to be there.
    text = read_corpus(config.data, sha256)
    cut = split_corpus(config.data, text, loaded.tokenizer, 1, needed=(split,))
    cut = replace(cut, block_size=config.model.block_size)
    cfg = replace(config.trainer, device=device, dtype=Dtype.float32)
    runtime = resolve_runtime(cfg, probe_hardware())
    corpus = cut.corpus(cfg.rows, config.seed, runtime.device)
    evaluator = Evaluator(loaded.model, corpus, loaded.tokenizer, runtime, cfg.eval_batch_size)
    over = evaluator.evaluate(split)
    return (
        f"{split:7} {over.loss:.4f} nats per token ({over.bpb:.3f} bits per byte), standard "
        f"error {over.stderr:.4f}, over {over.tokens:,} tokens of {cut.source}; "
        f"weights of step {loaded.step:,}"
    )


def _data(own: DataConfig, overrides: list[str]) -> DataConfig:
    """The run's own section, or that which the overrides choose."""
    if not overrides:
        return own
    foreign = [word for word in overrides if not word.startswith(("data=", "data."))]
    if foreign or not any(word.startswith("data=") for word in overrides):
        what = f"{foreign[0]} is none of data" if foreign else "no data=... among them"
        raise ConfigError(Problem("overrides", what, "data=text data.path=FILE, for one"))
    return from_overrides(overrides).data
