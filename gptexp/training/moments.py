"""The moments of a run at which own code is called, and what it sees: see gptexp/plugins.py.

Nothing that it does with what it is given reaches the training.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import torch

from gptexp.inference.load import LoadedRun
from gptexp.plugins import Plugin
from gptexp.runs.lines import is_number
from gptexp.runtime.random import rng_state, set_rng_state
from gptexp.text import shortened

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class View(LoadedRun):
    """A run at a moment, as `gptexp.load` gives one; model and config are copies."""

    values: Mapping[str, float]  # of the newest evaluation, as in metrics.jsonl; empty before it


Look = Callable[[int, Mapping[str, float]], View]  # from the step and the newest evaluation


class Moments:
    """Calls own code; a function that raises is named once and switched off."""

    def __init__(self, plugins: Sequence[Plugin] = (), look: Look | None = None) -> None:
        self.plugins = list(plugins)
        self.look = look
        self.values: dict[str, float] = {}  # of the newest evaluation

    def measured(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """The values of an evaluation, with those of own metrics behind them."""
        self.values = values
        own = {p.name: self._call(p, step, _number) for p in self._at("metric")}
        self.values = {**values, **{k: value for k, value in own.items() if value is not None}}
        return self.values

    def reached(self, moment: str, step: int) -> None:
        """Call what waits for one of plugins.MOMENTS."""
        for plugin in self._at(moment):
            self._call(plugin, step, lambda _: None)

    def _at(self, moment: str) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.moment == moment]

    def _call(self, plugin: Plugin, step: int, use: Callable[[Any], float | None]) -> float | None:
        """What `use` makes of what the function returns; None once it is switched off."""
        assert self.look is not None
        try:
            view = self.look(step, dict(self.values))
            with _undisturbed(view.device):
                return use(plugin.call(view))
        except (Exception, SystemExit) as error:
            self.plugins.remove(plugin)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            text = "plug-in %s failed at step %s: %s; it is switched off, and the run goes on"
            log.warning(text, plugin, f"{step:,}", shortened(reason, 200))
        return None


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Without gradients; torch's generators and the current folder are afterwards as they were.

    The run's own path may be relative to that folder.
    """
    state, folder = rng_state(device), Path.cwd()
    try:
        with torch.no_grad():
            yield
    finally:
        set_rng_state(state, device)
        os.chdir(folder)


def _number(value: Any) -> float:
    """A metric's value, of a tensor or array of one too; raises ValueError for no number."""
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, Real) or isinstance(plain, bool) or not is_number(float(plain)):
        raise ValueError(f"{shortened(repr(value))} is no finite number")
    return float(plain)
