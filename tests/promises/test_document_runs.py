"""Documents in use: exact evaluation, gradients that padding leaves alone, runs and samples."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from document_lines import BLOCK_SIZE, CPU, as_microgpt, corpus, file_of, numbered
from interruptions import finish, stop_before_step, uninterrupted
from small_runs import metrics, problem_lines, samples, summary
from torch import nn
from typer.testing import CliRunner

import gptexp
from gptexp.analysis import ngrams
from gptexp.cli.app import app
from gptexp.config import Keep
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.data.load import load_corpus
from gptexp.errors import DataError
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import evaluate
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.runs import checkpoint
from gptexp.runtime.device import Runtime

LINES = numbered(40)  # 36 to train on: with batches of four an epoch is nine steps
FLOAT32 = Runtime(CPU, torch.float32)  # so autocast does nothing; the network decides
KINDS = ["model=micro", "model=mlp model.context=3", "model=bigram"]


@pytest.fixture
def built(composed):
    """`built("model=micro", tokenizer)`: the network in float64, with large weights."""

    def call(words, tokenizer):
        cfg = composed(*words.split(), f"model.block_size={BLOCK_SIZE}").model
        if words != "model=bigram":
            cfg.init_std = 0.5
        network = build_model(cfg, tokenizer.vocab_size, seed=0)
        if words == "model=bigram":
            nn.init.uniform_(network.counts, 0, 9, generator=torch.Generator().manual_seed(0))
        return network.double()

    return call


def one_by_one(network, lines, tokenizer, block_size=BLOCK_SIZE):
    """For each document its summed loss, a scalar tensor, and how many targets it has."""
    found = []
    for line in lines:
        inputs, targets = as_microgpt(line, tokenizer, block_size)
        logits = network(torch.tensor([inputs]))[0]
        found.append((F.cross_entropy(logits, torch.tensor(targets), reduction="sum"), targets))
    return found


# Evaluation


@pytest.mark.parametrize("words", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_evaluation_is_the_mean_over_documents_one_by_one(built, words, batch_size):
    source, tokenizer = corpus(LINES, val_fraction=0.5)
    network = built(words, tokenizer)
    found = evaluate(network, source, tokenizer, FLOAT32, "val", batch_size)
    with torch.no_grad():
        each = one_by_one(network, LINES[20:], tokenizer)
    sums = np.array([loss.item() for loss, _ in each])
    sizes = np.array([len(targets) for _, targets in each])
    assert found.tokens == sizes.sum() == source.size("val")
    assert found.loss == pytest.approx(sums.sum() / sizes.sum(), rel=1e-13)
    residuals = sums - found.loss * sizes
    by_hand = math.sqrt(len(sizes) * residuals.var(ddof=1)) / sizes.sum()
    assert found.stderr == pytest.approx(by_hand, rel=1e-9)
    written = "".join(tokenizer.decode(targets) for _, targets in each)
    bits = sums.sum() / math.log(2)
    assert found.bpb == pytest.approx(bits / len(written.encode()), rel=1e-13)


class Uniform(nn.Module):
    """Every token is equally likely."""

    def forward(self, ids):
        return torch.zeros(*ids.shape, 4)


def test_bits_per_byte_count_the_end_of_a_document_as_one_byte():
    """ab and é: five targets of one, one, one, two and one bytes, two bits each."""
    source, tokenizer = corpus(["a", "ab", "é"], val_fraction=0.6)
    found = evaluate(Uniform(), source, tokenizer, FLOAT32, "val", 8)
    assert found.tokens == 5
    assert found.loss == pytest.approx(math.log(4))
    assert found.bpb == pytest.approx(5 * 2 / 6)


def test_a_limited_evaluation_is_that_of_the_first_documents(built):
    source, tokenizer = corpus(LINES)
    network = built("model=micro", tokenizer)
    limited = evaluate(network, source, tokenizer, FLOAT32, "train", 4, limit=20)
    with torch.no_grad():
        each = one_by_one(network, LINES[:3], tokenizer)  # of 3, 8 and 4 targets; the next has 8
    assert limited.tokens == 15
    assert limited.loss == pytest.approx(sum(loss.item() for loss, _ in each) / 15, rel=1e-13)


# Gradients


def gradients(network):
    found = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    return found


@pytest.mark.parametrize("words", KINDS)
def test_a_padded_batch_has_the_gradient_of_its_documents_weighted_by_tokens(built, words):
    lines = ["0", "123", "456789ab", "rest"]
    source, tokenizer = corpus(lines, val_fraction=0.2)
    network = built(words, tokenizer)
    x, y = source.batch("train", 0, 3)
    assert (y == IGNORE_INDEX).sum() == 6 + 4
    (token_losses(network(x), y).sum() / (y != IGNORE_INDEX).sum()).backward()
    together = gradients(network)
    alone = [torch.zeros_like(p) for p in network.parameters()]
    for loss, targets in one_by_one(network, lines[:3], tokenizer):
        (loss / len(targets)).backward()
        share = 1.0 if words == "model=bigram" else len(targets) / 14  # which counts
        alone = [a + share * g for a, g in zip(alone, gradients(network), strict=True)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)
        assert other.abs().max() > 1e-3


@pytest.fixture
def asked(small, tmp_path):
    """`asked("trainer.max_steps=9")`: SMALL on a file of documents."""
    path = file_of(LINES, tmp_path)
    common = ["data=documents", f"data.path={path}", "trainer.sample_documents=3"]
    return lambda *overrides: small(*common, *overrides)


def test_R10_accumulated_batches_are_close_to_one_large_batch_of_documents(asked, tmp_path, quick):
    def trained(batch_size, grad_accum):
        config = asked("model.dropout=0.0")
        config.trainer.batch_size, config.trainer.grad_accum = batch_size, grad_accum
        config.trainer.keep = Keep.all
        run = run_experiment(config, tmp_path / "outputs").directory
        model = checkpoint.read(run / "checkpoints/step-12.pt")["model"]
        return torch.cat([tensor.flatten() for tensor in model.values()])

    large, less = trained(8, 1), trained(4, 1)
    for accumulated in (trained(4, 2), trained(1, 8)):
        near, far = (large - accumulated).norm(), (large - less).norm()
        assert 0 < near < 1e-3 * far, f"{near} against {far}"


# Runs


def run_of(config, tmp_path):
    outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.state == "done", outcome
    return outcome.directory


def trained_tokens(config, steps):
    source = load_corpus(config).corpus(CPU)
    return source.trained(steps, config.trainer.batch_size)


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_a_run_learns_with_either_tokenizer(asked, tmp_path, quick, tokenizer):
    config = asked(
        f"tokenizer={tokenizer}",
        "trainer.eval_interval=9",
        "trainer.max_steps=36",
        "optim.lr=0.01",
        "data.test_fraction=0.1",
        "data.val_fraction=0.0001",
    )
    run = run_of(config, tmp_path)
    evaluations = [line for line in metrics(run) if "val/loss" in line]
    assert summary(run)["test"]["loss"] > 0
    assert [line["step"] for line in evaluations] == [0, 9, 18, 27, 36]
    assert evaluations[-1]["val/loss"] < evaluations[0]["val/loss"] - 0.3
    assert evaluations[-1]["epoch"] == pytest.approx(36 * 4 / 35, abs=0.05)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data"]["bounds"] == {"train": [0, 35], "test": [35, 39], "val": [39, 40]}


def test_an_epoch_ends_exactly_with_its_last_document(asked, tmp_path, quick):
    run = run_of(asked("trainer.eval_interval=9", "trainer.max_steps=18"), tmp_path)
    found = {line["step"]: line["epoch"] for line in metrics(run) if "val/loss" in line}
    assert found == {0: 0.0, 9: 1.0, 18: 2.0}
    run = run_of(asked("trainer.max_epochs=2"), tmp_path)
    assert (summary(run)["steps"], summary(run)["epochs"]) == (18, 2.0)


@pytest.mark.parametrize(("key", "value"), [("max_epochs", 1.3), ("max_tokens", 150)])
def test_a_budget_is_reached_and_one_step_less_would_not(asked, tmp_path, quick, key, value):
    config = asked(f"trainer.{key}={value}")
    result = summary(run_of(config, tmp_path))
    wanted = value if key == "max_tokens" else value * trained_tokens(config, 9)
    assert trained_tokens(config, result["steps"] - 1) < wanted <= result["tokens"]
    assert result["tokens"] == trained_tokens(config, result["steps"])


@pytest.mark.parametrize("step", [1, 5, 10, 14])
def test_P2_a_run_that_was_stopped_in_an_epoch_equals_the_uninterrupted_one(
    asked, tmp_path, quick, step
):
    config = asked("trainer.max_steps=16", "trainer.batch_size=5")  # batches cross epochs
    expected = uninterrupted(config, tmp_path / "straight")
    config.trainer.checkpoint_interval = 1
    stop_before_step(config, tmp_path / "stopped", step)
    assert finish(config, tmp_path / "stopped") == expected


def test_another_seed_trains_on_other_batches_and_is_judged_on_the_same_documents(
    asked, tmp_path, quick
):
    runs = [run_of(asked(f"seed={seed}"), tmp_path) for seed in (0, 1)]
    first, second = (json.loads((run / "manifest.json").read_text())["data"] for run in runs)
    assert first == second
    tokens = [summary(run)["tokens"] for run in runs]
    assert tokens[0] != tokens[1]


def test_samples_are_so_many_documents_each_of_one_context_at_most(asked, tmp_path, quick):
    config = asked("trainer.sample_tokens=100", "trainer.sample_temperature=2.0")
    for line in samples(run := run_of(config, tmp_path)):
        assert line["prompt"] == "\n"
        assert line["text"].endswith("\n")
        documents = line["text"].removesuffix("\n").split("\n")
        assert len(documents) == 3
        assert all(len(document) <= BLOCK_SIZE for document in documents)
    assert len(samples(run)) == 2
    config = asked("trainer.sample_tokens=2", "trainer.sample_documents=7", "seed=1")
    for line in samples(run_of(config, tmp_path)):
        assert [len(document) <= 2 for document in line["text"].split("\n")] == [True] * 8


@pytest.fixture
def run(asked, tmp_path, quick):
    return run_of(asked(), tmp_path)


def test_documents_that_are_cut_count_alike_in_manifest_curves_and_n_grams(run):
    """Some of the numbered lines are longer than the context."""
    tokens = json.loads((run / "manifest.json").read_text())["data"]["tokens"]
    whole = load_corpus(gptexp.load(run).config)
    cut = whole.corpus(CPU)
    assert tokens == {name: cut.size(name) for name in ("train", "test", "val")}
    assert tokens["train"] < len(whole.splits.train) - 1
    last = metrics(run)[-1]
    assert last["epoch"] == last["tokens"] / tokens["train"]
    expected = ngrams.losses(
        whole.splits.train,
        whole.splits.val,
        whole.tokenizer.vocab_size,
        boundary=cut.boundary,
        judged=cut.judged("val"),
    )
    assert np.count_nonzero(cut.judged("val")) == tokens["val"] < len(whole.splits.val) - 1
    assert summary(run)["ngrams"] == expected


def ending(loaded, after):
    """Make the model certain: a document is zeros, and ends after so many."""
    boundary = loaded.tokenizer.vocab_size - 1
    zero = int(loaded.tokenizer.encode("0")[0])

    def forward(ids):
        logits = torch.zeros(*ids.shape, boundary + 1)
        logits[..., boundary if ids.shape[1] == after + 1 else zero] = 1e4
        return logits

    loaded.model.forward = forward
    return loaded


@pytest.mark.parametrize(
    ("after", "tokens", "prompt", "expected"),
    [
        (3, 500, None, "000"),
        (3, 500, "", "000"),
        (3, 500, "07", "070"),
        (0, 500, None, ""),
        (3, 2, None, "00"),
        (8, 500, None, "0" * 8),  # the context is full
        (99, 500, None, "0" * 8),
        (99, 500, "0712345", "07123450"),
        (99, 3, "07", "07000"),
    ],
)
def test_a_document_ends_at_its_end_or_where_the_context_does(run, after, tokens, prompt, expected):
    loaded = ending(gptexp.load(run), after)
    assert loaded.sample(prompt, tokens=tokens) == [expected]


def test_documents_are_drawn_by_the_seed_and_each_stops_for_itself(run):
    loaded = gptexp.load(run)
    options = {"num": 40, "temperature": 1.5, "tokens": 100}
    texts = loaded.sample("0", seed=3, **options)
    assert texts == loaded.sample("0", seed=3, **options)
    assert texts != loaded.sample("0", seed=4, **options)
    assert len(texts) == 40
    assert all(text.startswith("0") and len(text) <= BLOCK_SIZE for text in texts)
    assert not any("\n" in text for text in texts)
    assert len({len(text) for text in texts}) > 2


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("0\n1", "a line break ends a document"),
        ("\n", "a line break ends a document"),
        ("0" * 8, "8 tokens, and a document has at most model.block_size=8"),
        ("q", "'q' \\(U\\+0071\\)"),
    ],
)
def test_a_prompt_that_no_document_begins_with_is_refused_in_one_line(run, prompt, words):
    with pytest.raises(DataError, match=words) as caught:
        gptexp.load(run).sample(prompt)
    [line] = problem_lines(caught.value)
    assert "\n" not in line
    assert " Fix: " in line


def test_gptexp_sample_shows_documents(run):
    shown = CliRunner().invoke(app, ["sample", str(run), "--num", "2", "--prompt", "07"])
    lines = shown.output.splitlines()
    assert len(lines) == 2  # a document a line, so no heading parts them
    assert all(line.startswith("07") and len(line) <= BLOCK_SIZE for line in lines)


def test_C6_weights_of_a_text_do_not_become_those_of_documents(small, asked, run, tmp_path):
    config = small(f"data.path={asked().data.path}")  # the same characters
    for one, other in ((config, asked("seed=1")), (asked("seed=2"), small("seed=3"))):
        first = run_of(one, tmp_path)
        other.data.path, other.init_from = one.data.path, str(first)
        outcome = run_experiment(other, tmp_path / "others")
        assert (outcome.state, outcome.exit_code) == ("refused", 2)
        assert "another architecture or vocabulary: tokenizer. Fix: " in outcome.error


def test_only_documents_can_be_shuffled(refused, text_file):
    [line] = refused("data=text", f"data.path={text_file}", "data.shuffle=true")
    assert line.startswith("data.shuffle: true, but only documents ")


@pytest.mark.parametrize("content", ["anna", " \n", "anna\nbob\n"])
def test_B4_too_few_documents_are_refused_before_anything_is_created(refused, tmp_path, content):
    path = file_of([content], tmp_path)
    given = ["data=documents", f"data.path={path}", "data.val_fraction=0.6", "model=micro"]
    [line] = refused(*given, "trainer.device=cpu")
    assert "document" in line or "no text" in line
