"""How long a run will take, from a pass or a few before its first step."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gptexp.config import TrainerConfig
from gptexp.console import brief
from gptexp.data.corpus import IGNORE_INDEX, Batch, Corpus, is_capped, judged
from gptexp.errors import Problem
from gptexp.inference.evaluation import rows_at_once
from gptexp.inference.loss import token_losses
from gptexp.optim.build import is_own
from gptexp.runtime.device import Runtime
from gptexp.runtime.random import rng_state, set_rng_state
from gptexp.text import duration, plural
from gptexp.training.step import UpdateStep

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.02  # more of them would be a part of the start that one waits for
PROBE_TOKENS = 512  # enough to stand for a large batch on a CPU
MOST_PASSES = 20


@dataclass(frozen=True)
class Speed:
    """Seconds that a token takes, and an update."""

    trained: float  # of a token, in the passes of a training step
    evaluated: float  # of a token in an evaluation, which needs the forward pass alone
    updated: float = 0.0  # of an optimizer's step, whatever the batch


def seconds(cfg: TrainerConfig, corpus: Corpus, speed: Speed, averages: int = 0) -> float:
    """The time that the whole run takes, with its evaluations, in seconds.

    Each of so many `averages` of the weights is evaluated too, on validation alone.
    """
    trained = corpus.tokens_seen(cfg.max_steps)
    evaluations = cfg.max_steps // cfg.eval_interval + 1
    targets = judged(corpus, cfg.eval_tokens)
    evaluated = evaluations * (sum(targets.values()) + averages * targets["val"])
    if is_capped(corpus, cfg.eval_tokens):  # the best and the last weights are judged exactly
        evaluated += 2 * sum(judged(corpus, None).values())
    passes = trained * speed.trained + evaluated * speed.evaluated
    return passes + cfg.max_steps * speed.updated


def announce(
    cfg: TrainerConfig, corpus: Corpus, speed: Speed, averages: int, step: int, waits: bool
) -> None:
    """Say how long the rest of a run takes, of which `step` updates are done.

    Warn of evaluations that last too long for other ranks, where any `waits` for the first.
    """
    steps = cfg.max_steps - step
    left = seconds(cfg, corpus, speed, averages) * steps / cfg.max_steps
    log.info("estimated time about %s for %d steps", duration(left), steps)
    evaluation = sum(judged(corpus, cfg.eval_tokens).values()) * speed.evaluated
    if waits and evaluation > cfg.rank_timeout:
        what = f"{cfg.rank_timeout} seconds, and an evaluation takes rank 0 about "
        what += duration(evaluation)
        fix = f"trainer.rank_timeout={2 * round(evaluation)}, or a trainer.eval_tokens"
        log.warning("%s", Problem("trainer.rank_timeout", what, fix))
    start = f"goes on at step {step:,}" if step else "starts"
    brief("%s: %s, about %s", start, plural(steps, "step"), duration(left))


def measure(cfg: TrainerConfig, update: UpdateStep, corpus: Corpus) -> Speed:
    """Time a pass or a few of an update's model, which leave no trace.

    Several ranks, which share their gradients in each, make one pass each and are timed together.
    """
    model, runtime, ranks = update.model, update.runtime, update.ranks
    enough = 0.0 if ranks.several else PROBE_SECONDS
    on_cpu = runtime.device.type == "cpu"
    few = max(1, PROBE_TOKENS // corpus.block_size)
    # On a CPU a part of a large batch takes its share of the time; a compiled model has one size.
    in_part = on_cpu and cfg.compile is not True
    rows = min(cfg.batch_size, few) if in_part else cfg.batch_size
    batch = Batch(*(part[:rows] for part in corpus.batch(0)))
    at_once = rows_at_once(cfg.eval_batch_size, corpus.block_size, model.vocab_size, runtime)
    inputs, targets = next(iter(corpus.windows("val", min(at_once, few) if on_cpu else at_once)))

    def train(count: int = rows) -> None:
        update.accumulate(Batch(*(part[:count] for part in batch)), count, count=1)

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
    train(1 if in_part else rows)  # the first pass of a process is slow
    speed = Speed(
        trained=_mean(train, runtime, enough) / usual / ranks.size,
        evaluated=_mean(evaluate, runtime, enough / 10) / evaluated,
        updated=_of_update(update, enough / 10),
    )
    update.clear()
    set_rng_state(random, runtime.device)
    return speed


def _of_update(update: UpdateStep, enough: float) -> float:
    """Seconds of a step of an optimizer that has made none, which is taken back.

    Of shared weights, and of own code, whose state nobody knows, it is left out.
    """
    optimizer = update.optimizer
    if update.ranks.several or is_own(optimizer):
        return 0.0
    kept = [parameter.detach().clone() for parameter in update.parameters]
    optimizer.step()  # the first one makes its state
    seconds = _mean(optimizer.step, update.runtime, enough)
    optimizer.state.clear()
    with torch.no_grad():
        for parameter, before in zip(update.parameters, kept, strict=True):
            parameter.copy_(before)
    return seconds


def _mean(work: Callable[[], None], runtime: Runtime, enough: float) -> float:
    """Seconds of a pass, from those that together take `enough` seconds or a little more.

    Their mean and not the fastest: other work on the machine slows the training down as well.
    """
    passes: list[float] = []
    while not passes or (len(passes) < MOST_PASSES and sum(passes) < enough):
        runtime.synchronize()
        began = time.perf_counter()
        work()
        runtime.synchronize()
        passes.append(time.perf_counter() - began)
    return sum(passes) / len(passes)
