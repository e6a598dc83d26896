"""Every shipped model with its recipe, and every experiment, takes a few steps."""

import re

import pytest
from small_runs import SHIPPED, metrics, only, problem_lines, summary

from gptexp.errors import DataError
from gptexp.experiment.identity import identify
from gptexp.experiment.run import run_experiment
from gptexp.tokenizers import merges

# What a test can wait for: the recipe's shape of a run, in two steps of two sequences.
SHORT = [
    "data=text",
    "logger=none",
    "schedule.warmup_steps=1",
    "trainer.max_steps=2",
    "trainer.batch_size=2",
    "trainer.eval_batch_size=2",
    "trainer.sample_tokens=2",
    "trainer.device=cpu",
]


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("What piece of work is a man, how noble in reason. " * 60)
    return path


# Of what no test can wait for, the switches alone.
SHRUNKEN = [
    "model.n_layer=2",
    "model.n_head=2",
    "model.n_embd=16",
    "model.block_size=32",
    "trainer.grad_accum=2",
    "tokenizer=byte",
]
LARGE = ["model=small", "model=medium", "experiment=nanogpt_shakespeare"]  # seconds each


@pytest.mark.parametrize(
    "choice",
    [pytest.param(word, marks=[pytest.mark.slow] if word in LARGE else []) for word in SHIPPED],
)
def test_it_composes_and_runs_a_few_steps(composed, book, tmp_path, choice):
    counting = ["optim=count"] if choice == "model=bigram" else []
    shrunken = SHRUNKEN if "=gpt2" in choice else []
    config = composed(choice, f"data.path={book}", *SHORT, *counting, *shrunken)
    outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.state == "done"
    assert summary(outcome.path)["steps"] == 2
    evaluations = [line for line in metrics(outcome.path) if "val/loss" in line]
    assert [line["step"] for line in evaluations] == [0, 2]
    assert evaluations[1]["train/eval_loss"] != evaluations[0]["train/eval_loss"]


def test_gpt2_124m_trains_on_what_its_line_says_to_make(
    composed, book, gptexp, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(merges, "published", lambda: "Ġ w\nh a")
    own = [word for word in (*SHRUNKEN, *SHORT) if word not in ("tokenizer=byte", "data=text")]
    config = composed("experiment=gpt2_124m", *own)
    with pytest.raises(DataError) as refused:
        identify(config, tmp_path)
    line = only(problem_lines(refused.value))
    command = re.search(r"Fix: gptexp (tokenize TEXTS .*), or other files", line)[1]
    words = command.replace("TEXTS", str(book)).split()
    assert gptexp(*words, "--workers", 1).code == 0
    run = run_experiment(config, tmp_path / "outputs").path
    assert summary(run)["steps"] == 2 and summary(run)["best"]["val_bpb"] > 0
    assert config.data.path == "data/openwebtext" and config.data.tokens


@pytest.mark.parametrize(
    ("choice", "schedule"),
    [("optim=adam", "linear"), ("optim=sgd", "constant"), ("tokenizer=byte", "linear")],
)
def test_the_other_choices_train_too(small, tmp_path, choice, schedule):
    outcome = run_experiment(small(choice, f"schedule={schedule}"), tmp_path / "outputs")
    assert outcome.state == "done"
    assert summary(outcome.path)["best"]["step"] > 0


def test_test_loss_is_that_of_the_best_weights_on_the_test_part(small, tmp_path):
    outcome = run_experiment(small("data.test_fraction=0.1"), tmp_path / "outputs")
    test = summary(outcome.path)["test"]
    assert 0 < test["bpb"] < 8
    assert test["loss"] != summary(outcome.path)["best"]["val_loss"]
