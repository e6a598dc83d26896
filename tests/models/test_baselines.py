"""Bigram counts and the perceptron, against sums and products written by hand."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from document_lines import BLOCK_SIZE, as_microgpt, corpus, file_of, numbered
from interruptions import finish, stop_before_step, uninterrupted
from small_runs import ONE_LINE, metrics, put

from gptexp.config import BigramConfig, MLPConfig, problems
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.data.load import load_corpus
from gptexp.experiment.run import run_experiment
from gptexp.inference.loss import token_losses
from gptexp.models.bigram import Bigram
from gptexp.models.build import build_model
from gptexp.models.counts import count_parameters, without_tables
from gptexp.models.mlp import MLP
from gptexp.runs import checkpoint

LINES = numbered(40)  # 36 to train on, of which some are longer than the context


def bigram(vocab_size=5, smoothing=1.0):
    cfg = BigramConfig(name="b", kind="bigram", block_size=BLOCK_SIZE, smoothing=smoothing)
    return build_model(cfg, vocab_size, seed=0)


def mlp(vocab_size=5, **changes):
    """In float64, with weights large enough for all of its parts to matter."""
    values = {"context": 3, "n_embd": 3, "n_hidden": 6, "init_std": 1.0} | changes
    cfg = MLPConfig(name="m", kind="mlp", block_size=BLOCK_SIZE, **values)
    return build_model(cfg, vocab_size, seed=0).double()


def pairs(rows, vocab_size):
    """How often each target followed each input, by numpy."""
    counts = np.zeros((vocab_size, vocab_size))
    for inputs, targets in rows:
        np.add.at(counts, (inputs, targets), 1)
    return counts


# Bigram counts


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
        "optim=sgd",
        "optim.momentum=0",
        "schedule=constant",
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
    steps = metrics(outcome.directory)[-1]["step"]
    state = checkpoint.read(outcome.directory / f"checkpoints/step-{steps}.pt")
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
    tokenizer = load_corpus(config).tokenizer
    rows = [as_microgpt(line, tokenizer, BLOCK_SIZE) for line in LINES[:36]]
    expected = pairs(rows, tokenizer.vocab_size)
    assert np.array_equal(counts, expected)
    assert counts.sum() == sum(len(targets) for _, targets in rows)


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
    first = next(line for line in metrics(outcome.directory) if "val/loss" in line)
    assert first["step"] == 0
    assert first["val/loss"] == pytest.approx(math.log(12), rel=1e-6)  # ten digits, é, the end
    assert outcome.best_val_loss < math.log(12) - 0.5


def test_the_training_loss_is_a_mean_over_real_targets_alone(asked, tmp_path, quick):
    """Before the first count it is ln V, however much of the batch is padding."""
    config = asked("trainer.log_interval=1", "trainer.grad_accum=2")
    outcome = run_experiment(config, tmp_path / "outputs")
    losses = [line["train/loss"] for line in metrics(outcome.directory) if "train/loss" in line]
    assert losses[0] == pytest.approx(math.log(12), rel=1e-6)
    assert losses[-1] < losses[0]


def step(network, ids, targets):
    """One update as the trainer makes it, by SGD with a learning rate of 1."""
    count = int((targets != IGNORE_INDEX).sum())
    (token_losses(network(ids), targets).sum() / count).backward()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    optimizer.step()
    optimizer.zero_grad()


def test_padding_is_not_counted():
    source, tokenizer = corpus(LINES)
    network = bigram(tokenizer.vocab_size)
    x, y = source.batch("train", 0, 36)
    assert (y == IGNORE_INDEX).any()
    step(network, x, y)
    real = [(a[b >= 0], b[b >= 0]) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert np.array_equal(network.counts.detach().numpy(), pairs(real, tokenizer.vocab_size))
    before = network.counts.detach().clone()
    step(network, x[:, :1], torch.full_like(y[:, :1], IGNORE_INDEX))
    assert torch.equal(network.counts, before)


@pytest.mark.parametrize("smoothing", [1.0, 1e-3, 1e-9, 1e-30])
def test_a_pair_is_counted_however_certain_it_already_is(smoothing):
    """Its probability rounds to 1, so the gradient of the cross-entropy there is 0."""
    network = bigram(smoothing=smoothing)
    ids, targets = torch.tensor([[2, 4]]), torch.tensor([[4, 0]])
    for count in range(1, 6):
        step(network, ids, targets)
        assert network.counts[2].tolist() == [0, 0, 0, 0, count]
        assert network.counts[4].tolist() == [count, 0, 0, 0, 0]
    network.counts.data[2, 4] = 2.0**23
    step(network, ids, targets)
    assert network.counts[2, 4] == 2.0**23 + 1


@pytest.mark.parametrize("optim", ["adam", "adamw"])
def test_an_optimizer_that_cannot_add_up_is_refused_in_one_line(refused, tmp_path, optim):
    path = file_of(LINES, tmp_path)
    [line] = refused("model=bigram", "data=documents", f"data.path={path}", f"optim={optim}")
    assert line.startswith(f"model.kind: bigram is counted by plain SGD, which {optim} ")
    fix = ONE_LINE.fullmatch(line)["fix"]
    assert fix == "optim=sgd optim.momentum=0 schedule=constant, or experiment=ladder_bigram"


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
def test_what_would_not_be_counts_is_refused_with_the_key(asked, word):
    [line] = problems(asked(word))
    key = word.partition("=")[0]
    assert re.fullmatch(rf"{key}=(0|1|constant), or .*", ONE_LINE.fullmatch(line)["fix"]), line


@pytest.mark.parametrize("smoothing", [0.0, -1.0, 1e-31, math.inf, math.nan])
def test_smoothing_is_above_0_in_float32(asked, smoothing):
    [line] = problems(put(asked(), "model.smoothing", smoothing))
    assert line.startswith(f"model.smoothing: {smoothing} is not a finite number from 1e-30, ")


# The perceptron

IDS = torch.tensor([[4, 0, 2, 2, 1], [3, 4, 0, 1, 0]])
TARGETS = torch.tensor([[0, 2, 2, 1, 4], [4, 0, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]])


def contexts(ids, context):
    """The last `context` tokens at each place, oldest first; -1 before the start."""
    padded = np.pad(ids, ((0, 0), (context - 1, 0)), constant_values=-1)
    return np.stack([padded[:, i : i + ids.shape[1]] for i in range(context)], axis=-1)


def weights_of(network):
    return [p.detach().numpy().copy() for p in (network.token_table.weight, *products(network))]


def products(network):
    return network.up.weight, network.head.weight


def by_hand(weights, context):
    """Logits, the mean loss, and its gradient in each weight: plain matrix products."""
    table, up, head = weights
    seen = contexts(IDS.numpy(), context).reshape(-1, context)  # [places, context]
    x = np.where((seen >= 0)[..., None], table[seen], 0.0).reshape(len(seen), -1)
    z = x @ up.T
    a = np.maximum(z, 0)
    logits = a @ head.T
    targets = TARGETS.numpy().reshape(-1)
    real = targets >= 0
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    loss = -np.log(shares[real, targets[real]]).mean()
    d_logits = shares.copy()
    d_logits[real, targets[real]] -= 1
    d_logits *= real[:, None] / real.sum()
    d_head = d_logits.T @ a
    d_z = (d_logits @ head) * (z > 0)
    d_up = d_z.T @ x
    d_x = (d_z @ up).reshape(*seen.shape, -1)
    d_table = np.zeros_like(table)
    np.add.at(d_table, seen[seen >= 0], d_x[seen >= 0])
    return logits, loss, [d_table, d_up, d_head]


def loss_of(network):
    return token_losses(network(IDS), TARGETS).sum() / (TARGETS != IGNORE_INDEX).sum()


@pytest.mark.parametrize("context", [1, 2, 3, 7])
def test_the_backward_pass_by_hand_is_autograd_s(context):
    network = mlp(context=context)
    logits, loss, expected = by_hand(weights_of(network), context)
    found = loss_of(network)
    found.backward()
    assert network(IDS).detach().numpy().reshape(-1, 5) == pytest.approx(logits, abs=1e-12)
    assert found.item() == pytest.approx(loss, abs=1e-12)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert np.abs(gradient).max() > 1e-2
        assert np.abs(parameter.grad.numpy() - gradient).max() < 1e-9


@pytest.mark.parametrize("context", [1, 3])
def test_the_gradient_of_every_weight_is_that_of_central_differences(context):
    network = mlp(context=context)
    loss_of(network).backward()
    width = 1e-5
    for parameter in network.parameters():
        numeric = torch.zeros_like(parameter)
        flat, found = parameter.data.view(-1), numeric.view(-1)
        for i in range(len(flat)):
            value = flat[i].item()
            above, below = (loss_of(network).item() for flat[i] in (value + width, value - width))
            flat[i] = value
            found[i] = (above - below) / (2 * width)
        torch.testing.assert_close(parameter.grad, numeric, rtol=0, atol=1e-8)


@pytest.mark.parametrize("context", [1, 2, 3, 5])
def test_a_prediction_rests_on_the_last_tokens_of_its_context_alone(context):
    network = mlp(context=context, n_hidden=32)
    ids = torch.tensor([[0, 1, 2, 3, 4, 0, 1]])
    with torch.no_grad():
        before = network(ids)[0]
        for changed in range(7):
            other = ids.clone()
            other[0, changed] = (ids[0, changed] + 1) % 5
            moved = (network(other)[0] != before).any(dim=-1)
            assert moved.nonzero().flatten().tolist() == [
                place for place in range(7) if changed <= place < changed + context
            ]


def test_there_are_zeros_before_the_start():
    network = mlp(context=3)
    ids = torch.tensor([[4, 2]])
    first, second = network.token_table(ids)[0]
    zero = torch.zeros(3, dtype=torch.float64)
    for place, inside in enumerate(([zero, zero, first], [zero, first, second])):
        expected = F.relu(torch.cat(inside) @ network.up.weight.T) @ network.head.weight.T
        torch.testing.assert_close(network(ids)[0, place], expected)


def test_the_perceptron_has_3184_parameters_and_no_biases(composed):
    cfg = composed("model=mlp").model
    assert count_parameters(cfg, 27) == {
        "token table": 27 * 16,
        "mlp": 16 * 64,
        "head": 64 * 27,
    }
    network = build_model(cfg, 27, seed=0)
    assert isinstance(network, MLP)
    assert sum(p.numel() for p in network.parameters()) == 3_184
    assert [p.ndim for p in network.parameters()] == [2, 2, 2]
    drawn = torch.cat([p.flatten() for p in network.parameters()])
    assert drawn.std().item() == pytest.approx(0.08, rel=0.05)
    assert abs(drawn.mean().item()) < 0.005


@pytest.mark.parametrize("vocab_size", [2, 27, 256])
@pytest.mark.parametrize(
    "words", ["model=bigram", "model=mlp", "model=mlp model.context=5", "model=micro"]
)
def test_every_variant_has_as_many_parameters_as_its_config_says(composed, words, vocab_size):
    cfg = composed(*words.split()).model
    network = build_model(cfg, vocab_size, seed=0)
    counts = count_parameters(cfg, vocab_size)
    assert sum(counts.values()) == sum(p.numel() for p in network.parameters())
    assert without_tables(counts) < sum(counts.values()) or words == "model=bigram"
    assert isinstance(network, Bigram) == (words == "model=bigram")


def test_the_same_seed_draws_the_same_perceptron_and_another_another():
    one, same = mlp(), mlp()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    other = build_model(one.cfg, 5, seed=1)
    assert not torch.equal(one.head.weight.float(), other.head.weight)
