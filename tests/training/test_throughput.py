"""The estimate of the time costs a start little, and is of the speed that there is."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

from gptexp.config import Config
from gptexp.data.corpus import Corpus
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


Kind = TypeVar("Kind", bound=UpdateStep)


def prepared(config: Config, kind: type[Kind]) -> tuple[Kind, Corpus]:
    """What measures: an update of a new model, and its text."""
    text = load_corpus(config.data, config.tokenizer, config.model.block_size)
    model = build_model(config.model, text.tokenizer.vocab_size, seed=0)
    runtime = Runtime(torch.device("cpu"), torch.float32)
    update = kind(model, build_optimizer(config.optim, model), runtime, grad_clip=1.0)
    return update, text.corpus(config.trainer.rows, 0, runtime.device)


@pytest.fixture
def measured(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[float, list[int]]]:
    """`measured([0.1, 0.02])`: seconds a pass, and the rows of all, which take so long."""
    monkeypatch.setattr(throughput, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(time, "perf_counter", lambda: Slow.now)

    def call(takes: list[float], *overrides: str) -> tuple[float, list[int]]:
        config = small(*overrides)
        update, corpus = prepared(config, Slow)
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


@pytest.mark.parametrize("optim", ["adamw", "adam", "muon", "sgd"])
def test_a_measured_update_is_as_if_none_had_been(small, optim):
    config = small(f"optim={optim}")
    trained = []
    for measures in (False, True):
        update, corpus = prepared(config, UpdateStep)
        torch.manual_seed(0)  # of dropout
        if measures:
            assert throughput.measure(config.trainer, update, corpus).updated > 0
            assert not update.optimizer.state
        for step in (1, 2):
            update(corpus.batch(step), 4, step, 32, lr=0.01)
        trained.append(update.model.state_dict())
    assert all(torch.equal(weight, trained[1][key]) for key, weight in trained[0].items())


def test_the_time_of_a_run_has_its_updates(small):
    cfg, corpus = small().trainer, prepared(small(), UpdateStep)[1]
    passes, updates = throughput.Speed(0.0, 0.0), throughput.Speed(0.0, 0.0, 0.25)
    assert throughput.seconds(cfg, corpus, passes) == 0
    assert throughput.seconds(cfg, corpus, updates) == 0.25 * cfg.max_steps
