"""The estimate of the time costs a start little, and is of the speed that there is."""

import time
from collections.abc import Callable

import pytest
import torch

from gptexp.config import Config
from gptexp.data.load import load_corpus
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer
from gptexp.runtime.device import Runtime
from gptexp.training import throughput
from gptexp.training.step import UpdateStep


class Slow(UpdateStep):
    """Its passes take what `takes` says, one after another, by a clock of their own."""

    now = 0.0
    takes: list[float]
    rows: list[int]

    def accumulate(self, batch, batch_size, count):
        self.rows.append(len(batch.inputs))
        Slow.now += self.takes[min(len(self.rows), len(self.takes)) - 1]
        return torch.zeros(())


@pytest.fixture
def measured(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[float, list[int]]]:
    """`measured([0.1, 0.02])`: seconds a pass, and the rows of all, which take so long."""
    monkeypatch.setattr(throughput, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(time, "perf_counter", lambda: Slow.now)

    def call(takes: list[float], *overrides: str) -> tuple[float, list[int]]:
        config = small(*overrides)
        runtime = Runtime(torch.device("cpu"), torch.float32)
        text = load_corpus(config.data, config.tokenizer, config.model.block_size)
        model = build_model(config.model, text.tokenizer.vocab_size, seed=0)
        corpus = text.corpus(config.trainer.rows, 0, runtime.device)
        update = Slow(model, build_optimizer(config.optim, model), runtime, grad_clip=1.0)
        update.takes, update.rows = takes, []
        monkeypatch.setattr(throughput, "MOST_PASSES", 3)
        speed = throughput.measure(config.trainer, update, corpus)
        return speed.trained * update.rows[-1] * config.model.block_size, update.rows

    return call


def test_a_long_pass_is_timed_once_after_a_row_that_warms_up(measured):
    seconds, rows = measured([9.0, 0.05])
    assert seconds == pytest.approx(0.05)
    assert rows == [1, 4]


def test_short_passes_count_by_their_mean(measured):
    seconds, rows = measured([9.0, 0.01, 0.03, 0.02])
    assert seconds == pytest.approx(0.02), "what slows some of them down slows the training too"
    assert rows == [1, 4, 4, 4]


def test_a_part_stands_for_a_large_batch(measured, monkeypatch):
    monkeypatch.setattr(throughput, "PROBE_TOKENS", 16)  # two rows of eight
    assert measured([9.0, 0.05])[1] == [1, 2]
