"""What moves a bit of the weights and what does not: seeds, streams, looking, dashboards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import (
    Small,
    finish,
    uninterrupted,
)
from small_runs import weights

from gptexp.config import Config, Keep, OnOverfit
from gptexp.data import text
from gptexp.experiment import train
from gptexp.experiment.run import run_experiment
from gptexp.inference import generate
from gptexp.runs import checkpoint
from gptexp.runtime import random
from gptexp.runtime.random import stream_seed
from gptexp.training import throughput


@pytest.fixture
def straight(tmp_path: Path) -> Callable[[Config], tuple[Any, ...]]:
    return lambda config: uninterrupted(config, tmp_path / "straight")


def test_R1_the_same_seed_twice_gives_equal_digests(small: Small, tmp_path: Path) -> None:
    config = small()
    assert finish(config, tmp_path / "one") == finish(config, tmp_path / "two")


@pytest.mark.parametrize(
    "change",
    [
        {"eval_interval": 5},
        {"log_interval": 1},
        {"sample_interval": 0},
        {"sample_interval": 1, "sample_tokens": 3},
        {"checkpoint_interval": 1},
        {"keep": Keep.all},
    ],
    ids=str,
)
def test_R3_looking_more_often_or_less_leaves_the_weights_equal(
    small: Small, tmp_path: Path, straight: Any, change: dict[str, Any]
) -> None:
    config = small()
    config.trainer.on_overfit = OnOverfit.observe
    expected = straight(config)[0]["final"]["weights_sha256"]
    config.trainer = replace(config.trainer, **change)
    assert finish(config, tmp_path / "other")[0]["final"]["weights_sha256"] == expected


def test_R3_a_dashboard_leaves_weights_and_metrics_equal(
    small: Small, tmp_path: Path, straight: Any
) -> None:
    expected = straight(small())
    config = small("logger=tensorboard")
    assert finish(config, tmp_path / "other") == expected
    assert list(tmp_path.glob("other/*/*/events.out.tfevents.*"))


def test_R3_the_forecast_of_the_time_leaves_no_trace(
    small: Small, tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = straight(small())
    monkeypatch.setattr(throughput, "measure", lambda *_: throughput.Speed(1.0, 1.0))
    assert finish(small(), tmp_path / "other") == expected


def test_R5_the_seed_matters(small: Small, tmp_path: Path) -> None:
    config, other = small(), small()
    other.seed = 1
    one, two = (run_experiment(c, tmp_path).path for c in (config, other))
    assert one != two
    assert weights(one) != weights(two)


@pytest.mark.parametrize(
    ("module", "stream"), [(train, "init"), (text, "data"), (random, "dropout")]
)
def test_R5_each_random_stream_matters_alone(
    small: Small,
    tmp_path: Path,
    straight: Any,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    stream: str,
) -> None:
    config = small()
    expected = straight(config)[0]["final"]["weights_sha256"]
    drawn = other_seed(module, monkeypatch)
    assert finish(config, tmp_path / "other")[0]["final"]["weights_sha256"] != expected
    assert drawn == {stream}


def test_R5_the_stream_of_samples_changes_samples_alone(
    small: Small, tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    expected = straight(config)
    drawn = other_seed(generate, monkeypatch)
    changed = finish(config, tmp_path / "other")
    assert drawn == {"sample"}
    assert changed[0]["final"] == expected[0]["final"]
    assert changed[1] == expected[1]
    assert [line["text"] for line in changed[2]] != [line["text"] for line in expected[2]]


def other_seed(module: Any, patch: pytest.MonkeyPatch) -> set[str]:
    """Give the streams that `module` draws another seed; returns their names, once drawn."""
    drawn = set()
    original = stream_seed

    def other_stream_seed(seed: int, stream: str, *index: int) -> int:
        drawn.add(stream)
        return original(seed + 1, stream, *index)

    patch.setattr(module, "stream_seed", other_stream_seed)
    return drawn


def test_R10_accumulated_batches_are_close_to_one_large_batch(small: Small, tmp_path: Path) -> None:
    def trained(batch_size: int, grad_accum: int) -> torch.Tensor:
        config = small("model.dropout=0.0")
        config.trainer.batch_size, config.trainer.grad_accum = batch_size, grad_accum
        config.trainer.keep = Keep.all
        run = run_experiment(config, tmp_path).path
        model = checkpoint.read(run / "checkpoints/step-12.pt")["model"]
        return torch.cat([tensor.flatten() for tensor in model.values()])

    large, accumulated, less = trained(8, 1), trained(4, 2), trained(4, 1)
    assert not torch.equal(large, less)
    near, far = (large - accumulated).norm(), (large - less).norm()
    assert near < 1e-3 * far, f"{near} against {far}"
