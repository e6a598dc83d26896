"""Bigrams are counted, and nothing else is: the legal spellings, and the refusals around them."""

import pytest
from small_runs import ONE_LINE, metrics, only, weights

from gptexp import assets
from gptexp.config import config_hash, problems
from gptexp.experiment.run import run_experiment

COUNT = ["model=bigram", "optim=count"]
# As it was before there was optim=count.
OF_OLD = ["model=bigram", "optim=sgd", "optim.momentum=0", "schedule=constant"]
SHORT = [
    *("data=text", "logger=none", "trainer.device=cpu", "trainer.sample_tokens=2"),
    *("trainer.max_steps=12", "trainer.eval_interval=4", "trainer.batch_size=3"),
    "trainer.grad_accum=2",
]


@pytest.mark.parametrize("given", [COUNT, OF_OLD, ["experiment=ladder_bigram"]])
def test_counting_is_legal_as_it_is_spelt_now_and_as_it_was(composed, given):
    assert problems(composed(*given)) == []


@pytest.mark.parametrize(
    ("given", "key", "what"),
    [
        (["model=bigram"], "model.kind", "bigram is counted, which optim=adamw does not"),
        (["model=bigram", "optim=adam"], "model.kind", "which optim=adam does not"),
        (["model=bigram", "optim=sgd"], "model.kind", "which optim=sgd does not"),
        ([*OF_OLD, "optim.lr=0.5"], "model.kind", "which optim=sgd does not"),
        ([*OF_OLD, "optim.momentum=0.9"], "model.kind", "which optim=sgd does not"),
        ([*OF_OLD, "optim.weight_decay=0.1"], "model.kind", "which optim=sgd does not"),
        ([*OF_OLD, "schedule=cosine"], "model.kind", "which optim=sgd does not"),
        ([*OF_OLD, "schedule.warmup_steps=1"], "model.kind", "which optim=sgd does not"),
        ([*OF_OLD, "trainer.grad_clip=1"], "model.kind", "which optim=sgd does not"),
        ([*COUNT, "optim.lr=0.5"], "optim.lr", "0.5, and a count knows no other than 1"),
        ([*COUNT, "optim.weight_decay=0.1"], "optim.weight_decay", "knows no other than 0"),
        ([*COUNT, "trainer.grad_clip=1"], "trainer.grad_clip", "1.0, and counts are not clipped"),
        (["optim=count", "trainer.grad_clip=0"], "optim.name", "this is laptop"),
        (["model=mlp", "optim=count", "trainer.grad_clip=0"], "optim.name", "this is mlp"),
    ],
)
def test_what_is_neither_is_one_line(composed, given, key, what):
    keys = [word.partition("=")[0] for word in given]  # the last one of a key counts
    given = [word for i, word in enumerate(given) if keys[i] not in keys[i + 1 :]]
    line = ONE_LINE.fullmatch(only([str(problem) for problem in problems(composed(*given))]))
    assert line["key"] == key
    assert what in line["what"]


def test_a_run_of_the_old_spelling_is_another_run_with_the_weights_of_a_new_one(
    composed, text_file, tmp_path
):
    spellings = {"now": [*COUNT, "schedule=constant"], "then": OF_OLD, "falling": COUNT}
    runs = {}
    for name, given in spellings.items():
        config = composed(*given, f"data.path={text_file}", *SHORT)
        outcome = run_experiment(config, tmp_path)
        assert outcome.state == "done", outcome.error
        runs[name] = outcome.path
    assert len({run.name for run in runs.values()}) == 3
    assert len({weights(run) for run in runs.values()}) == 1, "whatever the schedule says"
    assert metrics(runs["now"]) == metrics(runs["then"])
    assert metrics(runs["now"])[-1]["val/loss"] < metrics(runs["now"])[0]["val/loss"]


def test_a_ladder_of_the_old_spelling_is_still_found(composed):
    """Its directory is named by this hash, which no shipped config has any more."""
    given = ["experiment=ladder_bigram", "optim=sgd", "optim.momentum=0"]
    sha256 = assets.known("tinyshakespeare").sha256
    assert config_hash(composed(*given), sha256)[:40] == "08f7d6835b0473e09454fcdb7463b5a7b98a8220"
