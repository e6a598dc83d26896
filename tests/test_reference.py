"""The scalar engine against torch and by hand, and microGPT in it."""

import ast
import gc
import math
import random
import sys
from collections.abc import Iterator

import pytest
import torch
from small_runs import ROOT

from gptexp import reference
from gptexp.reference import Adam, Model, Value

DOCUMENTS = ["emma", "olivia", "ava", "mia"]
CHARS = "".join(sorted(set("".join(DOCUMENTS))))


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """As the command does: the collector would walk every graph, in vain."""
    gc.disable()
    yield
    gc.enable()


def small_model(n_layer=1, block_size=8, seed=0):
    rng = random.Random(seed)
    sizes = {"n_layer": n_layer, "n_embd": 8, "block_size": block_size}
    return Model(reference.draw_weights(rng, len(CHARS) + 1, **sizes), n_head=2)


# Claim 11.
def test_the_gradients_of_a_b_plus_a_are_4_and_2():
    a, b = Value(2.0), Value(3.0)
    value = a * b + a
    value.backward()
    assert (value.data, a.grad, b.grad) == (8.0, 4.0, 2.0)


EXPRESSIONS = {
    "add": lambda a, b: a + b,
    "add a number": lambda a, b: 2.0 + a + 3.0,
    "mul": lambda a, b: a * b,
    "mul by a number": lambda a, b: 2.0 * a * 3.0,
    "square": lambda a, b: a**2,
    "inverse root": lambda a, b: a**-0.5,
    "power 0": lambda a, b: a**0 + b,
    "power 1": lambda a, b: a**1,
    "neg": lambda a, b: -a,
    "sub": lambda a, b: a - b,
    "sub a number": lambda a, b: a - 1.5,
    "div": lambda a, b: a / b,
    "div by a number": lambda a, b: a / 4.0,
    "log": lambda a, b: a.log(),
    "exp": lambda a, b: b.exp(),
    "relu above 0": lambda a, b: a.relu(),
    "relu below 0": lambda a, b: b.relu() + a,
    "relu at 0": lambda a, b: (a - a).relu(),
    "used twice": lambda a, b: a + a,
    "used twice in a product": lambda a, b: a * a,
    "a diamond": lambda a, b: ((c := a * b) + 1.0) * (c.exp() + c),
    "unused": lambda a, b: b * 3.0,
    "all": lambda a, b: ((a * b - a / b) ** 2 + 1.0).log() * (-b).relu() + (a - b).exp() ** 0.5,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_operation_and_its_gradients_are_those_of_torch_and_of_small_differences(name):
    compute = EXPRESSIONS[name]
    at = (1.7, -0.6)
    a, b = map(Value, at)
    ours = compute(a, b)
    ours.backward()
    x, y = (torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in at)
    theirs = compute(x, y)
    grads = torch.autograd.grad(theirs, (x, y), allow_unused=True, materialize_grads=True)
    assert ours.data == pytest.approx(theirs.item(), rel=1e-12)
    assert [a.grad, b.grad] == pytest.approx([grad.item() for grad in grads], rel=1e-12)
    if name == "relu at 0":
        return  # where the slopes from the left and from the right differ
    h = 1e-6
    for i, grad in enumerate((a.grad, b.grad)):
        up, down = ([n + sign * h * (i == j) for j, n in enumerate(at)] for sign in (1, -1))
        slope = (compute(*map(Value, up)).data - compute(*map(Value, down)).data) / (2 * h)
        assert grad == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_a_graph_may_be_deeper_than_the_recursion_limit():
    start = value = Value(1.0)
    for _ in range(5 * sys.getrecursionlimit()):
        value = value + 0.5
    value.backward()
    assert start.grad == 1.0


def test_the_gradients_of_two_graphs_add_up_in_what_they_share():
    a = Value(2.0)
    (a * 3.0).backward()
    (a * a).backward()
    assert a.grad == 3.0 + 4.0


@pytest.mark.parametrize("n_layer", [1, 3])
def test_the_cached_forward_equals_the_uncached_one(n_layer):
    model = small_model(n_layer)
    tokens = [7, 1, 0, 3, 3, 2, 5, 1]
    cache = model.empty_cache()
    cached = [model.forward(token, cache) for token in tokens]
    uncached = model.forward_uncached(tokens)
    for ours, theirs in zip(cached, uncached, strict=True):
        assert [v.data for v in ours] == pytest.approx([v.data for v in theirs], abs=1e-14)
    assert cached[0][0].data != cached[-1][0].data
    alone = model.forward_uncached(tokens[:3])
    assert [v.data for v in alone[2]] == [v.data for v in uncached[2]]


def test_the_forward_passes_take_block_size_tokens_and_no_more():
    model = small_model(block_size=2)
    with pytest.raises(IndexError):
        model.forward_uncached([0, 1, 2])
    cache = model.empty_cache()
    for token in (0, 1):
        model.forward(token, cache)
    with pytest.raises(IndexError):
        model.forward(2, cache)


def test_log_softmax_takes_logits_whose_exp_would_overflow_or_vanish():
    logs = reference.log_softmax([Value(1000.0), Value(0.0), Value(-1000.0)])
    assert [v.data for v in logs] == [0.0, -1000.0, -2000.0]


def test_the_first_loss_is_near_ln_of_the_vocabulary():
    weights = reference.draw_weights(random.Random(0), 27)
    assert sum(len(row) for rows in weights.values() for row in rows) == 4_192
    tokens = [26, *range(12), 26]
    assert reference.loss(Model(weights, 4), tokens).data == pytest.approx(math.log(27), abs=0.2)
    zero = {name: [[0.0] * len(row) for row in rows] for name, rows in weights.items()}
    assert reference.loss(Model(zero, 4), tokens).data == pytest.approx(math.log(27), rel=1e-12)


def test_the_initial_weights_have_a_standard_deviation_of_0_08():
    drawn = reference.draw_weights(random.Random(1), 27, n_layer=2).values()
    numbers = [number for rows in drawn for row in rows for number in row]
    assert math.fsum(n * n for n in numbers) / len(numbers) == pytest.approx(0.08**2, rel=0.05)


def test_the_loss_is_the_mean_over_the_real_targets_both_bos_included():
    model = small_model()
    tokens = reference.encode("ava", CHARS)
    assert tokens == [len(CHARS), 0, CHARS.index("v"), 0, len(CHARS)]
    logs = [reference.log_softmax(logits) for logits in model.forward_uncached(tokens[:-1])]
    expected = -sum(row[target].data for row, target in zip(logs, tokens[1:], strict=True)) / 4
    assert reference.loss(model, tokens).data == pytest.approx(expected, rel=1e-12)


def test_a_document_is_cut_to_block_size_targets():
    model = small_model(block_size=3)
    tokens = reference.encode("olivia", CHARS)
    exact = reference.loss(model, tokens[:4]).data
    assert reference.loss(model, tokens).data == exact
    assert reference.loss(model, tokens[:3]).data != exact


def test_a_character_outside_the_vocabulary_has_no_token():
    with pytest.raises(ValueError):
        reference.encode("zoe", CHARS)


def test_the_first_step_of_adam_moves_each_weight_by_lr_against_its_gradient():
    a, b, still = Value(1.0), Value(2.0), Value(3.0)
    a.grad, b.grad = 5.0, -0.01
    Adam([a, b, still]).step(0.1)
    # Bias correction makes the mean g and its spread |g|, whatever the size of g.
    assert [a.data, b.data, still.data] == pytest.approx([0.9, 2.1, 3.0], abs=1e-6)
    assert [a.grad, b.grad] == [0.0, 0.0]


def test_the_learning_rate_falls_in_a_line_to_0(monkeypatch):
    rates = []
    monkeypatch.setattr(Adam, "step", lambda self, lr: rates.append(lr))
    tokens = [reference.encode("ava", CHARS)]
    assert len(list(reference.train(small_model(), tokens, 4))) == 4
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


@pytest.mark.slow
def test_training_lowers_the_loss_and_takes_the_documents_in_turn():
    model = small_model()
    encoded = [reference.encode(document, CHARS) for document in DOCUMENTS]
    before = [reference.loss(model, tokens).data for tokens in encoded]
    losses = list(reference.train(model, encoded, 40))
    after = [reference.loss(model, tokens).data for tokens in encoded]
    assert losses[0] == before[0]
    assert len(losses) == 40
    assert sum(after) < 0.7 * sum(before)


def test_sampling_ends_at_bos_or_block_size_and_follows_the_seed():
    model, bos = small_model(block_size=5), len(CHARS)
    drawn = [reference.sample(model, random.Random(seed), bos) for seed in range(12)]
    assert all(bos not in tokens and len(tokens) <= 5 for tokens in drawn)
    assert {len(tokens) == 5 for tokens in drawn} == {True, False}
    assert drawn[3] == reference.sample(model, random.Random(3), bos)
    assert len({tuple(tokens) for tokens in drawn}) > 1


def test_a_low_temperature_takes_the_likeliest_token():
    model, bos = small_model(seed=2), len(CHARS)
    [logits] = model.forward_uncached([bos])
    best = max(range(bos + 1), key=lambda i: logits[i].data)
    for seed in range(5):
        tokens = reference.sample(model, random.Random(seed), bos, temperature=1e-4)
        assert (tokens or [bos])[0] == best


def test_only_the_standard_library_is_imported():
    tree = ast.parse((ROOT / "gptexp" / "reference.py").read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 0 for node in froms)
    names |= {node.module for node in froms}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
    assert "gptexp" not in names
