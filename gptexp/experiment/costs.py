"""`gptexp params`: where the parameters of a config live, and what its training costs."""

from collections.abc import Iterator

import torch

from gptexp.config import check, from_overrides
from gptexp.experiment.inherit import inherited
from gptexp.experiment.prepare import budgeted, fits, least_memory, load_text, read_init
from gptexp.experiment.speed import seconds_of
from gptexp.models.counts import count_parameters, flops_per_token, without_tables
from gptexp.runtime.device import cpu_threads, device_problems, probe_hardware, resolve_runtime
from gptexp.text import duration


def describe_costs(overrides: list[str]) -> Iterator[str]:
    """Lines of parameters, FLOPs, steps, memory and time, the last of which is measured.

    Raises ConfigError, DataError and CheckpointError.
    """
    config = inherited(from_overrides(overrides), overrides)
    check(config)
    loaded = load_text(config, read_init(config))
    hardware = probe_hardware()
    runtime = resolve_runtime(config.trainer, hardware)
    is_here = not device_problems(config.trainer, hardware)
    device = runtime.device if is_here else torch.device("cpu")
    corpus = loaded.corpus(config.trainer.rows, config.seed, device)
    vocab_size = loaded.tokenizer.vocab_size
    counts = count_parameters(config.model, vocab_size)
    total, rest = sum(counts.values()), without_tables(counts)
    yield f"{config.model.name}, {vocab_size:,} tokens in the vocabulary"
    for name, count in [*counts.items(), ("total", total), ("without tables", rest)]:
        yield f"  {name:16} {count:>14,} {count / total:>7.1%}"
    trainer = budgeted(config, vocab_size, corpus)
    tokens = corpus.tokens_seen(trainer.max_steps)
    per_step = f"{tokens / trainer.max_steps:,.1f}".removesuffix(".0")
    flops = flops_per_token(config.model, vocab_size)
    yield f"FLOPs   {flops:,} a token; {flops * tokens:.3g} for the run's {tokens:,} tokens"
    yield f"steps   {trainer.max_steps:,} of {per_step} tokens"
    memory = least_memory(config, vocab_size, runtime)
    batch = f"{trainer.batch_size} sequences on {runtime.device}, in {runtime.arithmetic}"
    yield f"memory  {memory / 1e9:.2f} GB at least, to train {batch}"
    with cpu_threads(trainer.threads):
        able = is_here and fits(config, vocab_size, runtime)
        seconds = seconds_of(config, trainer.max_steps, vocab_size, corpus, runtime, able)
        if seconds is not None:
            yield f"time    about {duration(seconds)} on {runtime.describe()}"
