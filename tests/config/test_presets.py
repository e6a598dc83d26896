"""Every shipped model with its recipe, and every experiment, takes a few steps."""

import pytest
from small_runs import ROOT, metrics, summary

from gptexp.experiment.run import run_experiment

MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))

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


LARGE = ["model=small", "model=medium", "experiment=nanogpt_shakespeare"]  # seconds each


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(word, marks=[pytest.mark.slow] if word in LARGE else [])
        for word in [f"model={m}" for m in MODELS] + [f"experiment={e}" for e in EXPERIMENTS]
    ],
)
def test_it_composes_and_runs_a_few_steps(composed, book, tmp_path, choice):
    counting = ["optim=count"] if choice == "model=bigram" else []
    config = composed(choice, f"data.path={book}", *SHORT, *counting)
    outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.state == "done"
    assert summary(outcome.directory)["steps"] == 2
    evaluations = [line for line in metrics(outcome.directory) if "val/loss" in line]
    assert [line["step"] for line in evaluations] == [0, 2]
    assert evaluations[1]["train/eval_loss"] != evaluations[0]["train/eval_loss"]


@pytest.mark.parametrize("choice", ["optim=adam", "optim=sgd", "tokenizer=byte"])
@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_the_other_choices_train_too(small, tmp_path, choice, schedule):
    outcome = run_experiment(small(choice, f"schedule={schedule}"), tmp_path / "outputs")
    assert outcome.state == "done"
    assert summary(outcome.directory)["best"]["step"] > 0


def test_medium_and_its_recipe_say_what_claim_3_says(composed):
    config = composed("model=medium")
    trainer, optim, schedule = config.trainer, config.optim, config.schedule
    assert trainer.batch_size * trainer.grad_accum * config.model.block_size == 16_384
    assert (trainer.max_steps, trainer.grad_clip) == (5000, 1.0)
    assert (optim.name, optim.lr, optim.weight_decay) == ("adamw", 1e-3, 0.01)
    assert (optim.beta1, optim.beta2, config.model.dropout) == (0.9, 0.999, 0.0)
    assert (schedule.name, schedule.warmup_steps, schedule.final_fraction) == ("cosine", 100, 0.1)


def test_a_recipe_follows_its_model_and_the_command_line_wins(composed):
    assert composed("model=medium").trainer.batch_size == 64
    assert composed("model=laptop").trainer.batch_size == 12
    assert composed("model=medium", "trainer.batch_size=8").trainer.batch_size == 8
    assert composed("model=medium", "recipe=laptop").trainer.batch_size == 12


def test_test_loss_is_that_of_the_best_weights_on_the_test_part(small, tmp_path):
    outcome = run_experiment(small("data.test_fraction=0.1"), tmp_path / "outputs")
    test = summary(outcome.directory)["test"]
    assert 0 < test["bpb"] < 8
    assert test["loss"] != summary(outcome.directory)["best"]["val_loss"]
