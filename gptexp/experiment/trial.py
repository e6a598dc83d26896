"""Own models and optimizers, tried on a few tokens before a run directory exists."""

import io
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp import plugins
from gptexp.config import Config
from gptexp.errors import ConfigError, Problem
from gptexp.models.base import Model
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer, load_optimizer

SEED = 0
ROWS, MOST_TOKENS = 2, 16  # of a batch


def try_own_code(config: Config, vocab_size: int) -> None:
    """Build the model, let it predict and the optimizer step, where one of them is own code.

    On the CPU; leaves torch's random streams as they are. Raises ConfigError for the first thing
    that does not hold.
    """
    model, optim = plugins.own(config.model), plugins.own(config.optim)
    for plugin, defects in ((model, _of_model), (optim, _of_optimizer)):
        if plugin is None:
            continue
        with torch.random.fork_rng(devices=[]), plugins.running(plugin):
            ConfigError.raise_for(
                Problem(str(plugin), what, "correct it") for what in defects(config, vocab_size)
            )


def _of_model(config: Config, vocab_size: int) -> Iterator[str]:
    """The first thing in which the model is none."""
    one, two = (build_model(config.model, vocab_size, SEED) for _ in range(2))
    pairs = zip(one.named_parameters(), two.parameters(), strict=True)
    if unlike := [name for (name, a), b in pairs if not torch.equal(a, b)]:
        yield f"init_weights does not draw {unlike[0]} from its generator, the same each time"
        return
    one.eval()
    for rows, time in ((ROWS, config.model.block_size), (1, 1)):
        ids = _ids(rows, time, vocab_size)
        with torch.no_grad():
            logits = one(ids)
        if not isinstance(logits, Tensor) or logits.shape != (rows, time, vocab_size):
            shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            wanted = f"[batch, time, vocab_size] = {[rows, time, vocab_size]}"
            yield f"forward makes {shape} of ids {[rows, time]}, and not {wanted}"
            return
        if time > 1 and not _is_causal(one, ids, logits):
            yield "its logits change with the ids that follow them, which it is to predict"
            return


@torch.no_grad()
def _is_causal(model: Model, ids: Tensor, logits: Tensor) -> bool:
    """Whether the logits of the first half stay when the ids of the second one change."""
    half, other = ids.shape[1] // 2, ids.clone()
    other[:, half:] = (ids[:, half:] + 1) % model.vocab_size
    return torch.allclose(model(other)[:, :half], logits[:, :half], rtol=1e-3, atol=1e-4)


def _of_optimizer(config: Config, vocab_size: int) -> Iterator[str]:
    """The first thing in which the optimizer is none, or cannot be resumed."""
    model = build_model(config.model, vocab_size, SEED)
    optimizer = build_optimizer(config.optim, model)
    if not isinstance(optimizer, torch.optim.Optimizer):
        yield f"it returns {type(optimizer).__name__}, and no torch.optim.Optimizer"
        return
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    wanted = [id(p) for p in model.parameters()]
    if sorted(held) != sorted(wanted):
        missing, foreign = len({*wanted} - {*held}), len(held) - len({*wanted} & {*held})
        yield f"of {len(wanted)} parameters it leaves out {missing}, and has {foreign} others"
        return
    if not _is_plain(optimizer, model):
        yield "its state_dict holds more than tensors, numbers, texts, lists and dictionaries"
        return
    through, resumed = (_after_two_steps(config, vocab_size, again) for again in (False, True))
    if not all(torch.equal(a, b) for a, b in zip(through, resumed, strict=True)):
        yield "resumed from its state_dict, it makes another step than without"


def _after_two_steps(config: Config, vocab_size: int, resumed: bool) -> list[Tensor]:
    """The weights after two updates; the optimizer is `resumed` between them from its state."""
    model = build_model(config.model, vocab_size, SEED)
    optimizer = build_optimizer(config.optim, model)
    for number in range(2):
        if number == 1 and resumed:
            state = _through_a_file(optimizer)
            optimizer = build_optimizer(config.optim, model)
            load_optimizer(optimizer, state)
        _step(model, optimizer, number)
    return list(model.parameters())


def _step(model: Model, optimizer: torch.optim.Optimizer, number: int) -> None:
    """One update by a batch that `number` tells from others."""
    torch.manual_seed(number)
    time = min(model.cfg.block_size, MOST_TOKENS)
    ids = (_ids(ROWS, time + 1, model.vocab_size) + number) % model.vocab_size
    inputs, targets = ids[:, :-1], ids[:, 1:]
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    model.backward(loss, inputs, targets)
    optimizer.step()
    optimizer.zero_grad()


def _is_plain(optimizer: torch.optim.Optimizer, model: Model) -> bool:
    """Whether a checkpoint gives back the state that there is after one update."""
    _step(model, optimizer, 0)
    try:
        _through_a_file(optimizer)
    except Exception:  # torch.save and torch.load raise almost anything
        return False
    return True


def _through_a_file(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state as a checkpoint gives it back."""
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, weights_only=True)
    return state


def _ids(rows: int, time: int, vocab_size: int) -> Tensor:
    return torch.arange(rows * time).view(rows, time) % vocab_size
