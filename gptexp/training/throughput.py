"""How long a run will take, from a few passes before its first step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gptexp.config import TrainerConfig
from gptexp.data.corpus import IGNORE_INDEX, Batch, Corpus, is_capped, judged
from gptexp.inference.loss import token_losses
from gptexp.runtime.device import Runtime
from gptexp.runtime.random import rng_state, set_rng_state
from gptexp.training.step import UpdateStep

PROBE_SECONDS = 1.0  # for another load on the machine to pass
PROBE_TOKENS = 2048  # enough to stand for a large batch on a CPU


@dataclass(frozen=True)
class Speed:
    """Seconds that a token takes."""

    trained: float  # in a training step
    evaluated: float  # in an evaluation, which needs the forward pass alone


def seconds(cfg: TrainerConfig, corpus: Corpus, speed: Speed) -> float:
    """The time that the whole run takes, with its evaluations, in seconds."""
    trained = corpus.tokens_seen(cfg.max_steps)
    evaluations = cfg.max_steps // cfg.eval_interval + 1
    evaluated = evaluations * sum(judged(corpus, cfg.eval_tokens).values())
    if is_capped(corpus, cfg.eval_tokens):  # the best and the last weights are judged exactly
        evaluated += 2 * sum(judged(corpus, None).values())
    return trained * speed.trained + evaluated * speed.evaluated


def measure(cfg: TrainerConfig, update: UpdateStep, corpus: Corpus) -> Speed:
    """Time a few passes of an update's model, which leave no trace."""
    model, runtime = update.model, update.runtime
    rows = _rows(cfg.batch_size, cfg, corpus, runtime)
    batch = Batch(*(part[:rows] for part in corpus.batch(0)))
    inputs, targets = next(
        iter(corpus.windows("val", _rows(cfg.eval_batch_size, cfg, corpus, runtime)))
    )

    def train() -> None:
        update.accumulate(batch, rows, count=1)

    @torch.no_grad()
    def evaluate() -> None:
        with runtime.autocast():
            logits = model(inputs)
        token_losses(logits, targets).sum()

    random = rng_state(runtime.device)
    model.train()
    # Of one document, a batch is as long as the usual one.
    usual = corpus.tokens_per_epoch("train") / corpus.rows_per_epoch("train") * len(batch.inputs)
    evaluated = int((targets != IGNORE_INDEX).sum())
    speed = Speed(
        trained=_fastest(train, runtime, PROBE_SECONDS) / usual,
        evaluated=_fastest(evaluate, runtime, PROBE_SECONDS / 10) / evaluated,
    )
    update.clear()
    set_rng_state(random, runtime.device)
    return speed


def _rows(batch_size: int, cfg: TrainerConfig, corpus: Corpus, runtime: Runtime) -> int:
    """On a CPU, a part of a large batch takes its share of the time."""
    whole_batch = runtime.device.type != "cpu" or cfg.compile
    few = max(1, PROBE_TOKENS // corpus.block_size)
    return batch_size if whole_batch else min(batch_size, few)


def _fastest(work: Callable[[], None], runtime: Runtime, enough: float) -> float:
    """Seconds of the fastest of a few passes, which together take `enough` seconds or a little."""
    passes: list[float] = []
    while len(passes) < 3 or (len(passes) < 20 and sum(passes) < enough):
        runtime.synchronize()
        began = time.perf_counter()
        work()
        runtime.synchronize()
        passes.append(time.perf_counter() - began)
    return min(passes[1:])  # the first warms up
