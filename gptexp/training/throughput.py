"""How long a run will take, from a few passes before its first step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptexp.config import TrainerConfig
from gptexp.data.corpus import IGNORE_INDEX, Corpus
from gptexp.inference.loss import token_losses
from gptexp.runtime.device import Runtime
from gptexp.runtime.random import rng_state, set_rng_state

PROBE_SECONDS = 1.0  # for another load on the machine to pass

PROBE_TOKENS = 2048  # enough to stand for a large batch on a CPU

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Speed:
    """Seconds that a token takes."""

    trained: float  # in a training step
    judged: float  # in an evaluation, which needs the forward pass alone


def seconds(cfg: TrainerConfig, corpus: Corpus, speed: Speed) -> float:
    """For the whole run, with its evaluations."""
    trained = corpus.trained(cfg.max_steps, cfg.batch_size * cfg.grad_accum)
    judged = corpus.size("val") + min(corpus.size("val"), corpus.size("train"))
    evaluations = cfg.max_steps // cfg.eval_interval + 1
    return trained * speed.trained + evaluations * judged * speed.judged


def measure(
    cfg: TrainerConfig, model: nn.Module, forward: Forward, corpus: Corpus, where: Runtime
) -> Speed:
    """From a few passes, which leave no trace; `forward` is the model's, perhaps compiled."""
    x, y = corpus.batch("train", 0, _rows(cfg.batch_size, cfg, corpus, where))

    def train() -> None:
        with where.autocast():
            logits = forward(x)
        token_losses(logits, y).sum().backward()

    rows = _rows(cfg.eval_batch_size, cfg, corpus, where)
    inputs, targets = next(iter(corpus.windows("val", rows)))

    @torch.no_grad()
    def judge() -> None:
        with where.autocast():
            logits = model(inputs)
        token_losses(logits, targets).sum()

    random = rng_state(where.device)
    model.train()
    # Of one document, a batch is as long as the usual one.
    usual = corpus.size("train") / corpus.sequences("train") * len(x)
    speed = Speed(
        trained=_fastest(train, where, PROBE_SECONDS) / usual,
        judged=_fastest(judge, where, PROBE_SECONDS / 10) / int((targets != IGNORE_INDEX).sum()),
    )
    model.zero_grad(set_to_none=True)
    set_rng_state(random, where.device)
    return speed


def _rows(batch_size: int, cfg: TrainerConfig, corpus: Corpus, where: Runtime) -> int:
    """On a CPU, a part of a large batch takes its share of the time."""
    whole_batch = where.device.type != "cpu" or cfg.compile
    few = max(1, PROBE_TOKENS // corpus.block_size)
    return batch_size if whole_batch else min(batch_size, few)


def _fastest(work: Callable[[], None], where: Runtime, enough: float) -> float:
    """Seconds of the fastest of a few passes, which together take `enough` seconds or a little."""
    passes: list[float] = []
    while len(passes) < 3 or (len(passes) < 20 and sum(passes) < enough):
        where.synchronize()
        began = time.perf_counter()
        work()
        where.synchronize()
        passes.append(time.perf_counter() - began)
    return min(passes[1:])  # the first warms up
