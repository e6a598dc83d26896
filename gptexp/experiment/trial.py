"""Own models and optimizers, tried on a few tokens before a run directory exists."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
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
from gptexp.runtime.device import Runtime
from gptexp.runtime.random import rng_state, set_rng_state

SEED = 0
ROWS, MOST_TOKENS = 2, 16  # of a batch
BOUNDARY = 0  # the token that begins a document


def try_own_code(config: Config, vocab_size: int, runtime: Runtime) -> None:
    """Build the model, let it predict and the optimizer step, where one of them is own code.

    In the dtype of the run's weights, without autocast. Leaves torch's random streams as they are.
    Raises ConfigError for the first thing that does not hold.
    """
    trial, before = _Trial(config, vocab_size, runtime), rng_state(runtime.device)
    for section, defects in ((config.model, _of_model), (config.optim, _of_optimizer)):
        if (plugin := plugins.own(section)) is not None:
            with plugins.running(plugin):
                ConfigError.raise_for(
                    Problem(str(plugin), what, "correct it") for what in defects(trial)
                )
    set_rng_state(before, runtime.device)


@dataclass(frozen=True)
class _Trial:
    config: Config
    vocab_size: int
    runtime: Runtime

    def model(self) -> Model:
        """A new model, the same each time."""
        model = build_model(self.config.model, self.vocab_size, SEED)
        return model.to(self.runtime.device, self.runtime.weights)

    def optimizer(self, model: Model) -> torch.optim.Optimizer:
        return build_optimizer(self.config.optim, model)

    def ids(self, rows: int, time: int, first: int = 0) -> Tensor:
        """Ids [rows, time], each one more than that before it."""
        ids = torch.arange(first, first + rows * time, device=self.runtime.device).view(rows, time)
        return ids % self.vocab_size

    def agree(self, one: Tensor, two: Tensor) -> bool:
        """Whether weights are the same: to the bit, where the device always adds in one order."""
        on_cpu = self.runtime.device.type == "cpu"
        return torch.equal(one, two) if on_cpu else torch.allclose(one, two)

    def step(self, model: Model, optimizer: torch.optim.Optimizer, number: int) -> None:
        """One update by a batch that `number` tells from others."""
        torch.manual_seed(number)
        time = min(self.config.model.block_size, MOST_TOKENS)
        ids = self.ids(ROWS, time + 1, first=number)
        inputs, targets = ids[:, :-1], ids[:, 1:]
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        model.backward(loss, inputs, targets)
        optimizer.step()
        optimizer.zero_grad()


def _of_model(trial: _Trial) -> Iterator[str]:
    """The first thing in which the model is none."""
    one, two = trial.model(), trial.model()
    pairs = zip(one.named_parameters(), two.parameters(), strict=True)
    if unlike := [name for (name, a), b in pairs if not torch.equal(a, b)]:
        yield f"init_weights does not draw {unlike[0]} from its generator, the same each time"
        return
    one.eval()
    for rows, time in ((ROWS, trial.config.model.block_size), (1, 1)):
        ids = trial.ids(rows, time)
        with torch.no_grad():
            logits = one(ids)
        if not isinstance(logits, Tensor) or logits.shape != (rows, time, trial.vocab_size):
            shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            wanted = f"[batch, time, vocab_size] = {[rows, time, trial.vocab_size]}"
            yield f"forward makes {shape} of ids {[rows, time]}, and not {wanted}"
            return
        if time > 1 and not _is_causal(one, ids, logits):
            yield "its logits change with the ids that follow them, which it is to predict"
            return
        if time > 1 and trial.config.data.mask_documents and not _hides_documents(one, ids):
            yield "its logits change with documents before, which data.mask_documents=true hides"
            return


@torch.no_grad()
def _is_causal(model: Model, ids: Tensor, logits: Tensor) -> bool:
    """Whether the logits of the first half stay when the ids of the second one change."""
    half, other = ids.shape[1] // 2, ids.clone()
    other[:, half:] = (ids[:, half:] + 1) % model.vocab_size
    return torch.allclose(model(other)[:, :half], logits[:, :half], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def _hides_documents(model: Model, ids: Tensor) -> bool:
    """Whether the logits behind a boundary stay when the ids before it change."""
    half, model.boundary = ids.shape[1] // 2, BOUNDARY
    other = (ids + 1) % model.vocab_size
    other[:, half:] = ids[:, half:]
    ids[:, half] = other[:, half] = BOUNDARY
    return torch.allclose(model(other)[:, half:], model(ids)[:, half:], rtol=1e-3, atol=1e-4)


def _of_optimizer(trial: _Trial) -> Iterator[str]:
    """The first thing in which the optimizer is none, or cannot be resumed."""
    model = trial.model()
    optimizer = trial.optimizer(model)
    if not isinstance(optimizer, torch.optim.Optimizer):
        yield f"it returns {type(optimizer).__name__}, and no torch.optim.Optimizer"
        return
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    wanted = [id(p) for p in model.parameters()]
    if sorted(held) != sorted(wanted):
        missing, foreign = len({*wanted} - {*held}), len(held) - len({*wanted} & {*held})
        yield f"of {len(wanted)} parameters it leaves out {missing}, and has {foreign} others"
        return
    trial.step(model, optimizer, 0)
    try:
        _through_a_file(optimizer)
    except Exception:  # torch.save and torch.load raise almost anything
        yield "its state_dict holds more than tensors, numbers, texts, lists and dictionaries"
        return
    through, resumed = (_after_two_steps(trial, again) for again in (False, True))
    if not all(map(trial.agree, through, resumed)):
        yield "resumed from its state_dict, it makes another step than without"


def _after_two_steps(trial: _Trial, resumed: bool) -> list[Tensor]:
    """The weights after two updates; the optimizer is `resumed` between them from its state."""
    model = trial.model()
    optimizer = trial.optimizer(model)
    trial.step(model, optimizer, 0)
    if resumed:
        state = _through_a_file(optimizer)
        optimizer = trial.optimizer(model)
        load_optimizer(optimizer, state)
    trial.step(model, optimizer, 1)
    return list(model.parameters())


def _through_a_file(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state as a checkpoint gives it back."""
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, map_location="cpu", weights_only=True)
    return state
