"""How long a run will take, from a few passes before its first step."""

import time
from collections.abc import Callable

from torch import Tensor, nn

from gptexp import runtime
from gptexp.config import TrainerConfig
from gptexp.data import Corpus
from gptexp.evaluation import token_losses
from gptexp.runtime import Runtime

PROBE_SECONDS = 1.0  # for another load on the machine to pass
PROBE_TOKENS = 2048  # enough to stand for a large batch on a CPU


def seconds(
    cfg: TrainerConfig,
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    corpus: Corpus,
    where: Runtime,
) -> float:
    """For the whole run, with its evaluations."""
    return per_token(cfg, model, forward, corpus, where) * work(cfg, corpus)


def per_token(
    cfg: TrainerConfig,
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    corpus: Corpus,
    where: Runtime,
) -> float:
    """Seconds that a token takes to train on, from a few passes."""
    whole_batch = where.device.type != "cpu" or cfg.compile
    few = max(1, PROBE_TOKENS // corpus.block_size)
    rows = cfg.batch_size if whole_batch else min(cfg.batch_size, few)
    return _probe(model, forward, corpus, where, rows) / (rows * corpus.block_size)


def work(cfg: TrainerConfig, corpus: Corpus) -> float:
    """Tokens of the whole run, those of its evaluations at what they cost.

    An evaluation needs the forward pass alone, about a third of a training step's work per token.
    """
    trained = cfg.max_steps * cfg.batch_size * cfg.grad_accum * corpus.block_size
    looked_at = corpus.size("val") + min(corpus.size("val"), corpus.size("train"))
    evaluations = cfg.max_steps // cfg.eval_interval + 1
    return trained + evaluations * looked_at / 3


def _probe(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    corpus: Corpus,
    where: Runtime,
    rows: int,
) -> float:
    """Seconds of the fastest of a few forward and backward passes, which leave no trace."""
    x, y = corpus.batch("train", 0, rows)
    random = runtime.rng_state(where.device)
    model.train()
    passes: list[float] = []
    while len(passes) < 3 or (len(passes) < 20 and sum(passes) < PROBE_SECONDS):
        where.synchronize()
        began = time.perf_counter()
        with where.autocast():
            logits = forward(x)
        token_losses(logits, y).mean().backward()
        where.synchronize()
        passes.append(time.perf_counter() - began)
    model.zero_grad(set_to_none=True)
    runtime.set_rng_state(random, where.device)
    return min(passes[1:])  # the first warms up
