"""A run's length in tokens, epochs or floating-point work instead of steps."""

import math
import re

import numpy as np
import pytest
import torch
from interruptions import stop_before_step
from small_runs import ONE_LINE, metrics, only, put, summary, weights
from typer.testing import CliRunner

from gptexp.cli.app import app
from gptexp.config import config_hash, note_long_warmup, problems
from gptexp.data.corpus import Splits
from gptexp.data.text import TextCorpus
from gptexp.errors import ConfigError
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.training import budget

NO_DATA = "0" * 64
BUDGETS = {"max_tokens": 1000, "max_epochs": 2.5, "max_flops": 1e9}


def lines_of(config):
    return [str(problem) for problem in problems(config)]


def steps(config, train_tokens=1000, flops_per_token=100):
    """Of batches of 4 sequences of 8 tokens, as in SMALL."""
    ids = np.zeros(train_tokens, np.int64)
    splits = Splits(ids, ids[:0], ids, {})
    corpus = TextCorpus(splits, 8, config.trainer.rows, seed=0, device=torch.device("cpu"))
    return budget.steps(config.trainer, corpus, flops_per_token)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_tokens", 1, 1),
        ("max_tokens", 32, 1),
        ("max_tokens", 33, 2),
        ("max_epochs", 1e-9, 1),
        ("max_epochs", 0.32, 10),
        ("max_epochs", 0.33, 11),
        ("max_epochs", 3.2, 100),
        ("max_flops", 3200.0, 1),
        ("max_flops", 3200.5, 2),
        ("max_flops", 3.2e15, 10**12),
    ],
)
def test_the_steps_are_the_fewest_that_reach_the_budget(small, key, value, expected):
    assert steps(put(small(), f"trainer.{key}", value)) == expected


@pytest.mark.parametrize("hundredths", [7, 14, 28, 29, 55, 56, 57, 58, 110, 111, 113])
def test_epochs_count_as_they_were_typed(small, hundredths):
    """0.07 * 100 is a little more than 7 in binary fractions."""
    config = put(small(), "trainer.max_epochs", hundredths / 100)
    assert steps(config, train_tokens=3200) == hundredths


def test_without_a_budget_max_steps_counts(small):
    assert steps(small("trainer.max_steps=7")) == 7


@pytest.mark.parametrize("key", BUDGETS)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_budget_that_is_not_above_zero_is_refused(composed, key, value):
    line = only(lines_of(put(composed(), f"trainer.{key}", value)))
    assert line.startswith(f"trainer.{key}: {value} ")
    assert ONE_LINE.fullmatch(line)


def test_two_budgets_are_refused_in_one_line(composed):
    config = put(put(composed(), "trainer.max_tokens", 10), "trainer.max_flops", 1e9)
    line = only(lines_of(config))
    assert line.startswith("trainer.max_tokens: trainer.max_flops=1000000000.0 ")
    assert ONE_LINE.fullmatch(line)


@pytest.mark.parametrize("key", BUDGETS)
def test_a_budget_is_hashed_in_place_of_max_steps(composed, key):
    """A budget says how long the run is, so what max_steps the recipe names makes no other run."""
    plain = config_hash(composed(), NO_DATA)
    config = put(composed(), f"trainer.{key}", BUDGETS[key])
    given = config_hash(config, NO_DATA)
    assert given != plain
    assert config_hash(put(config, "trainer.max_steps", 17), NO_DATA) == given
    assert config_hash(put(config, f"trainer.{key}", BUDGETS[key] * 2), NO_DATA) != given


def test_a_run_by_tokens_is_the_run_of_as_many_steps(small, tmp_path):
    """Schedule, evaluations and the end follow; 11 steps of 32 tokens reach 340."""
    by_steps = run_experiment(small("trainer.max_steps=11"), tmp_path).path
    by_tokens = run_experiment(small("trainer.max_tokens=340"), tmp_path).path
    assert by_steps != by_tokens
    assert weights(by_tokens) == weights(by_steps)
    assert metrics(by_tokens) == metrics(by_steps)
    result = summary(by_tokens)
    assert (result["steps"], result["tokens"], result["stop_reason"]) == (
        11,
        352,
        "all steps are done",
    )


@pytest.mark.parametrize("key", ["max_epochs", "max_flops"])
def test_the_summary_reaches_the_budget_and_one_step_less_would_not(small, tmp_path, key):
    value = {"max_epochs": 0.3, "max_flops": 1e7}[key]
    result = summary(run_experiment(small(f"trainer.{key}={value}"), tmp_path).path)
    reached = result[key.removeprefix("max_")]
    assert reached >= value > reached * (1 - 1 / result["steps"])


def test_a_resumed_run_keeps_its_budget(small, tmp_path):
    """Though another recipe's max_steps came with the second command."""
    config = small("trainer.max_tokens=340")
    straight = run_experiment(config, tmp_path / "straight").path
    stop_before_step(config, tmp_path / "broken", 7)
    resumed = run_experiment(put(config, "trainer.max_steps", 9), tmp_path / "broken").path
    assert resumed.name == straight.name
    assert weights(resumed) == weights(straight)


@pytest.mark.parametrize("key", BUDGETS)
def test_a_warm_up_longer_than_the_budget_lasts_the_whole_run_with_a_note(
    small, tmp_path, caplog, key
):
    value = {"max_tokens": 640, "max_epochs": 0.3, "max_flops": 1e7}[key]
    config = small(f"trainer.{key}={value}", "schedule.warmup_steps=500", "trainer.max_steps=900")
    note_long_warmup.cache_clear()
    steps = prepare(config, identify(config, tmp_path)).trainer.max_steps
    words = f"500 is longer than the run, {steps} steps by trainer.{key}={value}"
    assert only([m for m in caplog.messages if words in m]).endswith(f"for all {steps} steps")


def test_a_budget_may_be_longer_than_the_recipe_s_steps(small):
    config = put(small("schedule.warmup_steps=500"), "trainer.max_tokens", 10**6)
    assert problems(config) == []


def test_gptexp_params_counts_the_steps_of_the_budget(text_file):
    given = ["data=text", f"data.path={text_file}", "trainer.max_tokens=100000"]
    shown = CliRunner().invoke(app, ["params", *given]).output
    assert "the run's 100,608 tokens" in shown  # 131 steps of 12 x 64
    assert re.search(r"steps +131 of 768 tokens", shown)


def test_a_model_without_flops_has_every_other_budget(small):
    assert steps(small("trainer.max_tokens=1000"), flops_per_token=0) == 32
    assert steps(small("trainer.max_epochs=1"), flops_per_token=0) == 32
    with pytest.raises(ConfigError, match="the model says that a token takes none"):
        steps(small("trainer.max_flops=1e9"), flops_per_token=0)
