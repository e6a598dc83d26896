"""Bigram counts, against sums written by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from document_lines import BLOCK_SIZE, CPU, as_microgpt, corpus, file_of, numbered, tokenized
from interruptions import finish, stop_before_step, uninterrupted
from small_runs import ONE_LINE, metrics, only, problem_lines, put

from gptexp.config import BigramConfig, CountConfig, SGDConfig, check
from gptexp.data.corpus import IGNORE_INDEX, Batch
from gptexp.errors import ConfigError
from gptexp.experiment.run import run_experiment
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer
from gptexp.runs import checkpoint
from gptexp.runtime.device import Runtime
from gptexp.training.step import UpdateStep

LINES = numbered(40)  # 36 to train on, of which some are longer than the context


def bigram(vocab_size=5, smoothing=1.0):
    cfg = BigramConfig(name="b", kind="bigram", block_size=BLOCK_SIZE, smoothing=smoothing)
    return build_model(cfg, vocab_size, seed=0)


def pairs(rows, vocab_size):
    """How often each target followed each input, by numpy."""
    counts = np.zeros((vocab_size, vocab_size))
    for inputs, targets in rows:
        np.add.at(counts, (inputs, targets), 1)
    return counts


def of_lines(lines):
    """The counts of these documents."""
    tokenizer = tokenized(LINES)[1]
    rows = [as_microgpt(line, tokenizer, BLOCK_SIZE) for line in lines]
    counts = pairs(rows, tokenizer.vocab_size)
    assert counts.sum() == sum(len(targets) for _, targets in rows)
    return counts


# Two ways to ask for counts: the second is how it was done before there was the first.
COUNT = ["optim=count"]
SGD = ["optim=sgd", "optim.momentum=0", "schedule=constant"]


@pytest.fixture
def asked(composed, tmp_path):
    """`asked("seed=1")`: counting the documents of a file, once each."""
    path = file_of(LINES, tmp_path)
    given = [
        "model=bigram",
        "data=documents",
        f"data.path={path}",
        "data.shuffle=false",
        "logger=none",
        *COUNT,
        f"model.block_size={BLOCK_SIZE}",
        "trainer.max_epochs=1",
        "trainer.batch_size=4",
        "trainer.eval_interval=3",
        "trainer.on_overfit=observe",
        "trainer.keep=all",
        "trainer.device=cpu",
    ]
    return lambda *overrides: composed(*given, *overrides)


def counted(config, outputs):
    """The counts that a run leaves, and how many steps it took."""
    outcome = run_experiment(config, outputs)
    assert outcome.state == "done", outcome
    steps = metrics(outcome.path)[-1]["step"]
    state = checkpoint.read(outcome.path / f"checkpoints/step-{steps}.pt")
    return state["model"]["counts"].numpy(), steps


@pytest.mark.parametrize(("batch_size", "grad_accum"), [(1, 1), (4, 1), (3, 4), (36, 1)])
@pytest.mark.parametrize("smoothing", [1.0, 1e-9])
def test_a_run_of_one_epoch_has_exactly_the_counts_of_its_documents(
    asked, tmp_path, quick, batch_size, grad_accum, smoothing
):
    config = asked(f"model.smoothing={smoothing}", f"trainer.grad_accum={grad_accum}")
    config.trainer.batch_size = batch_size
    counts, steps = counted(config, tmp_path / "outputs")
    assert steps * batch_size * grad_accum == 36
    assert np.array_equal(counts, of_lines(LINES[:36]))


@pytest.mark.parametrize(
    "words",
    [SGD, ["schedule=linear", "schedule.warmup_steps=3"]],
    ids=["as it was done before", "whatever the schedule"],
)
def test_counts_asked_for_in_another_way_are_the_same(asked, tmp_path, quick, words):
    counts, _ = counted(asked(*words), tmp_path / "outputs")
    assert np.array_equal(counts, of_lines(LINES[:36]))


def test_P2_counting_that_was_stopped_counts_nothing_twice(asked, tmp_path, quick):
    config = asked()
    expected = uninterrupted(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "stopped", 5)
    assert finish(config, tmp_path / "stopped") == expected


@pytest.mark.parametrize("smoothing", [1.0, 0.5, 1e-3])
def test_probabilities_are_smoothed_shares_of_the_counts(smoothing):
    network = bigram(smoothing=smoothing)
    counts = torch.tensor(np.random.default_rng(0).integers(0, 9, (5, 5)), dtype=torch.float32)
    counts[3] = 0  # never seen
    network.counts.data.copy_(counts)
    ids = torch.tensor([[0, 3, 4], [1, 2, 3]])
    found = network(ids).exp()
    for row, column in itertools.product(range(2), range(3)):
        token = ids[row, column]
        total = counts[token].sum() + smoothing * 5
        expected = [((counts[token, b] + smoothing) / total).item() for b in range(5)]
        assert found[row, column].tolist() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 3))
    assert found[0, 1].tolist() == pytest.approx([0.2] * 5)


def test_before_the_first_count_the_loss_is_ln_of_the_vocabulary(asked, tmp_path, quick):
    config = asked()
    outcome = run_experiment(config, tmp_path / "outputs")
    first = next(line for line in metrics(outcome.path) if "val/loss" in line)
    assert first["step"] == 0
    assert first["val/loss"] == pytest.approx(math.log(12), rel=1e-6)  # ten digits, é, the end
    assert outcome.best_val_loss < math.log(12) - 0.5


def test_the_training_loss_is_a_mean_over_real_targets_alone(asked, tmp_path, quick):
    """Before the first count it is ln V, however much of the batch is padding."""
    config = asked("trainer.log_interval=1", "trainer.grad_accum=2")
    outcome = run_experiment(config, tmp_path / "outputs")
    losses = [line["train/loss"] for line in metrics(outcome.path) if "train/loss" in line]
    assert losses[0] == pytest.approx(math.log(12), rel=1e-6)
    assert losses[-1] < losses[0]


OPTIMIZERS = {
    "count": CountConfig(name="count", lr=1.0, weight_decay=0.0),
    "sgd": SGDConfig(name="sgd", lr=1.0, weight_decay=0.0, momentum=0.0),
}


@pytest.fixture(params=OPTIMIZERS)
def updates(request):
    """`updates(network)(ids, targets)`: one update as the trainer makes it."""

    def of(network):
        optimizer = build_optimizer(OPTIMIZERS[request.param], network)
        update = UpdateStep(network, optimizer, Runtime(CPU, torch.float32), grad_clip=0.0)

        def call(ids, targets):
            count = max(1, int((targets != IGNORE_INDEX).sum()))
            update(Batch(ids, targets), len(ids), 1, count, 1.0)
            assert update.first_non_finite() is None

        return call

    return of


def test_padding_is_not_counted(updates):
    source, tokenizer = corpus(LINES, rows=36)
    network = bigram(tokenizer.vocab_size)
    step = updates(network)
    x, y = source.batch(0)
    assert (y == IGNORE_INDEX).any()
    step(x, y)
    real = [(a[b >= 0], b[b >= 0]) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert np.array_equal(network.counts.detach().numpy(), pairs(real, tokenizer.vocab_size))
    before = network.counts.detach().clone()
    step(x[:, :1], torch.full_like(y[:, :1], IGNORE_INDEX))
    assert torch.equal(network.counts, before)


@pytest.mark.parametrize("smoothing", [1.0, 1e-3, 1e-9, 1e-30])
def test_a_pair_is_counted_however_certain_it_already_is(updates, smoothing):
    """Its probability rounds to 1, so the gradient of the cross-entropy there is 0."""
    network = bigram(smoothing=smoothing)
    step = updates(network)
    ids, targets = torch.tensor([[2, 4]]), torch.tensor([[4, 0]])
    for count in range(1, 6):
        step(ids, targets)
        assert network.counts[2].tolist() == [0, 0, 0, 0, count]
        assert network.counts[4].tolist() == [count, 0, 0, 0, 0]
    network.counts.data[2, 4] = 2.0**23
    step(ids, targets)
    assert network.counts[2, 4] == 2.0**23 + 1


# What is refused


def fix_of(config):
    """The fix of the one problem that `config` has."""
    with pytest.raises(ConfigError) as caught:
        check(config)
    return ONE_LINE.fullmatch(only(problem_lines(caught.value)))["fix"]


@pytest.mark.parametrize("optim", ["adam", "adamw"])
def test_an_optimizer_that_cannot_add_up_is_refused_in_one_line(refused, tmp_path, optim):
    path = file_of(LINES, tmp_path)
    [line] = refused("model=bigram", "data=documents", f"data.path={path}", f"optim={optim}")
    assert line.startswith(f"model.kind: bigram is counted, which optim={optim} ")
    assert ONE_LINE.fullmatch(line)["fix"] == "optim=count, or experiment=ladder_bigram"


@pytest.mark.parametrize(
    "word",
    [
        "optim.lr=0.5",
        "optim.momentum=0.9",
        "optim.weight_decay=0.1",
        "schedule=linear",
        "schedule.warmup_steps=3",
        "trainer.grad_clip=1.0",
    ],
)
def test_descent_that_would_not_be_counts_is_refused(asked, word):
    assert fix_of(asked(*SGD, word)) == "optim=count, or experiment=ladder_bigram"


@pytest.mark.parametrize("key", ["optim.lr", "optim.weight_decay", "trainer.grad_clip"])
def test_what_a_count_does_not_know_is_refused_with_the_key(asked, key):
    assert fix_of(asked(f"{key}=0.5")) == f"{key}={1 if key == 'optim.lr' else 0}"


def test_counting_is_for_bigrams_alone(asked):
    config = asked("model=micro")
    assert fix_of(config) == "optim=adamw"


@pytest.mark.parametrize("smoothing", [0.0, -1.0, 1e-31, math.inf, math.nan])
def test_smoothing_is_above_0_in_float32(asked, smoothing):
    with pytest.raises(ConfigError) as caught:
        check(put(asked(), "model.smoothing", smoothing))
    line = only(problem_lines(caught.value))
    assert line.startswith(f"model.smoothing: {smoothing} is not a finite number from 1e-30, ")
