"""Documents in use: runs that train on them, and the samples that they give."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from document_lines import BLOCK_SIZE, CPU, file_of, numbered
from interruptions import finish, stop_before_step, uninterrupted
from small_runs import metrics, problem_lines, samples, summary
from typer.testing import CliRunner

import gptexp
from gptexp.analysis import ngrams
from gptexp.cli.app import app
from gptexp.config import Keep
from gptexp.data.corpus import SPLITS
from gptexp.data.load import load_corpus
from gptexp.errors import DataError
from gptexp.experiment.run import run_experiment
from gptexp.inference.weights import read_checkpoint
from gptexp.runs import checkpoint

LINES = numbered(40)  # 36 to train on: with batches of four an epoch is nine steps


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
        run = run_experiment(config, tmp_path / "outputs").path
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
    return outcome.path


def loaded_text(config):
    return load_corpus(config.data, config.tokenizer, config.model.block_size)


def trained_tokens(config, steps):
    corpus = loaded_text(config).corpus(config.trainer.rows, config.seed, CPU)
    return corpus.tokens_seen(steps)


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


TRAINED: list[Path] = []  # one run for all tests below, which leave it as it is


@pytest.fixture
def run(asked, tmp_path_factory, quick):
    if not TRAINED:
        TRAINED.append(run_of(asked(), tmp_path_factory.mktemp("documents")))
    return TRAINED[0]


def test_documents_that_are_cut_count_alike_in_manifest_curves_and_n_grams(run):
    """Some of the numbered lines are longer than the context."""
    tokens = json.loads((run / "manifest.json").read_text())["data"]["tokens"]
    text = loaded_text(gptexp.load(run).config)
    train, val, end = text.splits.train, text.splits.val, text.format.end(text.tokenizer)
    corpus = text.corpus(1, 0, CPU)
    assert tokens == {name: corpus.tokens_per_epoch(name) for name in SPLITS}
    assert tokens["train"] < len(train) - 1
    last = metrics(run)[-1]
    assert last["epoch"] == last["tokens"] / tokens["train"]
    mask = text.format.target_mask(val, text.tokenizer, BLOCK_SIZE)
    assert np.count_nonzero(mask) == tokens["val"] < len(val) - 1
    vocab_size = text.tokenizer.vocab_size
    expected = ngrams.losses(train, val, vocab_size, boundary=end, target_mask=mask)
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


def test_weights_of_a_text_read_documents_in_their_own_vocabulary(small, asked, quick, tmp_path):
    config = small(f"data.path={asked().data.path}")  # the same characters
    for one, other in ((config, asked("seed=1")), (asked("seed=2"), small("seed=3"))):
        first = run_of(one, tmp_path)
        other.data.path, other.init_from = one.data.path, str(first)
        outcome = run_experiment(other, tmp_path / "others")
        assert (outcome.state, outcome.exit_code) == ("done", 0)
        theirs, ours = (read_checkpoint(run)["tokenizer"] for run in (first, outcome.path))
        assert ours == theirs


def test_only_documents_can_be_shuffled(refused, text_file):
    [line] = refused("data=text", f"data.path={text_file}", "data.shuffle=true")
    assert line.startswith("data.shuffle: true, but only documents ")


@pytest.mark.parametrize("content", ["anna", " \n", "anna\nbob\n"])
def test_B4_too_few_documents_are_refused_before_anything_is_created(refused, tmp_path, content):
    path = file_of([content], tmp_path)
    given = ["data=documents", f"data.path={path}", "data.val_fraction=0.6", "model=micro"]
    [line] = refused(*given, "trainer.device=cpu")
    assert "document" in line or "no text" in line
