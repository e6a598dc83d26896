"""How fast a config trains: its model timed for a moment, or a small copy of a large one."""

import math
from dataclasses import replace

import numpy as np

from gptexp import plugins
from gptexp.config import Config, GPTConfig, ModelConfig, Windows
from gptexp.data.corpus import Corpus, Splits
from gptexp.data.text import TextCorpus
from gptexp.models.build import build_model
from gptexp.models.counts import flops_per_token, total_parameters
from gptexp.optim.build import build_optimizer
from gptexp.runtime.device import Runtime
from gptexp.training import throughput
from gptexp.training.step import UpdateStep
from gptexp.training.throughput import PROBE_TOKENS, Speed

LARGE = 50_000_000  # parameters, from which on a pass takes a CPU seconds and gigabytes
WIDTH, LAYERS = 768, 2  # of a copy, about: products of matrices rule its time as they rule that


def seconds_of(
    config: Config, steps: int, vocab_size: int, corpus: Corpus, runtime: Runtime, fits: bool
) -> float | None:
    """What a run of so many steps takes with its evaluations; None where it cannot be timed.

    That is where it does not fit the machine, and no copy stands for it.
    """
    speed = speed_by_copy(config, vocab_size, runtime)
    if speed is None and fits:
        speed = speed_of(config, vocab_size, corpus, runtime)
    if speed is None:
        return None
    trainer = replace(config.trainer, max_steps=steps)
    return throughput.seconds(trainer, corpus, speed, len(config.optim.averages))


def speed_of(config: Config, vocab_size: int, corpus: Corpus, runtime: Runtime) -> Speed:
    """The speed of a model of this config that nobody has begun to train, uncompiled."""
    by_copy = speed_by_copy(config, vocab_size, runtime)
    return _timed(config, vocab_size, corpus, runtime) if by_copy is None else by_copy


def speed_by_copy(config: Config, vocab_size: int, runtime: Runtime) -> Speed | None:
    """The speed of a GPT that is too large to be built on a CPU; None of others.

    A copy of the same proportions stands for it, which takes as long for each floating-point
    operation.
    """
    copied = small_copy(config.model, vocab_size) if runtime.device.type == "cpu" else None
    if copied is None:
        return None
    copy, few = copied
    times = flops_per_token(config.model, vocab_size) / flops_per_token(copy, few)
    speed = _timed(replace(config, model=copy), few, _random_text(copy, few, runtime), runtime)
    return Speed(times * speed.trained, times * speed.evaluated)


def small_copy(cfg: ModelConfig, vocab_size: int) -> tuple[GPTConfig, int] | None:
    """A GPT with the switches of a large one, and its vocabulary; None for what is not large.

    Heads are as wide. Width, context and windows shrink by one share, and the vocabulary by that
    and by the layers, so that blocks, attention and head take the shares of the work they took.
    """
    if not isinstance(cfg, GPTConfig) or plugins.own(cfg) is not None:
        return None
    if total_parameters(cfg, vocab_size) < LARGE:
        return None
    heads = min(cfg.n_head, max(1, WIDTH // cfg.head_width))
    share = heads / cfg.n_head
    layers = min(cfg.n_layer, max(LAYERS, len(cfg.window)))
    copy = replace(
        cfg,
        n_layer=layers,
        n_head=heads,
        n_embd=heads * cfg.head_width,
        block_size=_shrunk(cfg.block_size, share),
        n_kv_head=None if cfg.n_kv_head is None else math.gcd(heads, cfg.n_kv_head),
        mlp_width=None if cfg.mlp_width is None else _shrunk(cfg.mlp_width, share),
        window=[_shrunk(size, share) if size else 0 for size in cfg.window],
    )
    return copy, _shrunk(vocab_size, share * layers / cfg.n_layer)


def _shrunk(size: int, share: float) -> int:
    return max(1, round(size * share))


def _random_text(cfg: ModelConfig, vocab_size: int, runtime: Runtime) -> TextCorpus:
    """As many random tokens as are timed at once."""
    rows = max(1, PROBE_TOKENS // cfg.block_size)
    ids = np.random.default_rng(0).integers(0, vocab_size, rows * cfg.block_size + 1)
    splits = Splits(ids, ids[:0], ids, {})
    return TextCorpus(splits, cfg.block_size, rows, 0, runtime.device, Windows.random)


def _timed(config: Config, vocab_size: int, corpus: Corpus, runtime: Runtime) -> Speed:
    model = build_model(config.model, vocab_size, 0)
    model.recomputes = config.trainer.activation_checkpointing
    # Wherever documents begin, to tell them apart takes as long.
    model.boundary = 0 if config.data.mask_documents else None
    model.to(runtime.device, runtime.weights)
    optimizer = build_optimizer(config.optim, model)
    update = UpdateStep(model, optimizer, runtime, config.trainer.grad_clip)
    return throughput.measure(config.trainer, update, corpus)
