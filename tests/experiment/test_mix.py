"""Runs on a mix: what they leave of each part, and that they resume and repeat bit for bit."""

import pytest
from interruptions import finish, left, stop_before_step
from small_runs import metrics, refusal, summary

from gptexp.analysis import records
from gptexp.config import config_hash, differences, flat, problems, to_dict
from gptexp.experiment.ensemble import ensemble
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.reproduce import reproduce
from gptexp.experiment.run import run_experiment
from gptexp.inference.load import load_run
from gptexp.runs.schema import read_manifest


@pytest.fixture
def mix(small, tmp_path, text_file):
    """The config of a run on two files."""
    digits = tmp_path / "digits.txt"
    digits.write_text("0123456789\n" * 100)

    def build(*words, share=1.0):
        config = small("trainer.keep=all", *words)
        config.data.name, config.data.path = "mix", None
        config.data.parts = {str(text_file): 3.0, str(digits): share}
        return config

    return build


def test_a_run_leaves_the_loss_of_each_part_and_their_mean(mix, tmp_path):
    config = mix()
    run = run_experiment(config, tmp_path / "outputs").path
    line = [line for line in metrics(run) if "val/loss" in line][-1]
    mean = 0.25 * line["val/loss/digits"] + 0.75 * line["val/loss/text"]
    assert line["val/loss"] == pytest.approx(mean, abs=1e-12)
    parts = summary(run)["final"]["parts"]
    assert parts["digits"] == {"loss": line["val/loss/digits"], "epochs": line["epoch/digits"]}
    assert parts["digits"]["epochs"] > 0
    manifest = read_manifest(run)
    assert manifest["data"]["parts"]["digits"]["share"] == 0.25
    assert manifest["data"]["bounds"]["digits/val"] == [990, 1100]
    assert summary(run)["ngrams"] is None
    [found] = records.collect([run.parent])[0]
    assert found.config["data.parts.digits"] == 1.0

    first, *others = evaluate_run(run, None, []).splitlines()
    best = summary(run)["best"]
    assert first.startswith(f"val     {best['val_loss']:.4f}")
    assert [line.rsplit(" ", 1)[-1] for line in others] == ["digits", "text"]
    assert f"{best['parts']['digits']['loss']:.4f}" in others[0]
    assert load_run(run).evaluate("to be\n").tokens == 5
    said = []
    assert reproduce(run, "verify", None, said.append) == 0
    assert any("built again from the journal: to the bit" in str(line) for line in said)
    assert "is of a mix" in refusal(ensemble, [run, run / "checkpoints" / "step-12.pt"])


@pytest.mark.parametrize("kind", ["false", "true"])
def test_a_mix_is_cut_into_byte_pairs_as_texts_and_as_documents(mix, tmp_path, kind):
    words = ["tokenizer=bpe", "tokenizer.vocab_size=260", f"data.documents={kind}"]
    config = mix(*words, "trainer.max_steps=2")
    run = run_experiment(config, tmp_path / "outputs").path
    assert summary(run)["best"]["parts"].keys() == {"digits", "text"}
    assert len(evaluate_run(run, None, []).splitlines()) == 3
    assert load_run(run).sample(tokens=3)


@pytest.mark.parametrize("words", [[], ["trainer.eval_tokens=40", "data.sampling=epoch"]])
def test_a_resumed_run_on_a_mix_is_the_uninterrupted_one(mix, tmp_path, words):
    whole = finish(mix(*words), tmp_path / "whole")
    stop_before_step(mix(*words), tmp_path / "parted", 7)
    outcome = run_experiment(mix(*words), tmp_path / "parted")
    assert left(outcome.path) == whole


def test_shares_and_labels_are_hashed_and_places_are_not(mix, tmp_path):
    config, other, moved = mix(), mix(share=2.0), mix()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    moved.data.parts = {
        str(folder / key.rsplit("/")[-1]): v for key, v in config.data.parts.items()
    }
    assert config_hash(config, "x") == config_hash(moved, "x") != config_hash(other, "x")
    assert differences(config, other) == [("data.parts.digits", "1.0", "2.0")]
    assert "data.parts.text" in flat(to_dict(config))
    assert "parts" not in str(flat(to_dict(mix()) | {"data": {"name": "text"}}))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"shakespeare": 0.0}, "leave nothing to train on"),
        ({"shakespeare": -1.0}, "no finite shares"),
        ({"shakespeare": float("inf")}, "no finite shares"),
        ({}, "there are none"),
    ],
)
def test_shares_that_cannot_be_are_one_line(mix, parts, words):
    config = mix()
    config.data.parts = parts
    [problem] = problems(config)
    assert problem.subject == "data.parts" and words in problem.what
