"""`gptexp evaluate`: a run's best weights, on its own text or on another one."""

from pathlib import Path

import pytest
from small_runs import only, refusal

import gptexp
from gptexp.analysis import records
from gptexp.errors import DataError
from gptexp.experiment.ensemble import ensemble
from gptexp.experiment.evaluate import evaluate_run


def test_the_loss_of_the_best_checkpoint_is_that_which_was_logged(trained):
    best = records.collect([trained])[0][0].best
    assert evaluate_run(trained, "val", []).startswith(f"val     {best:.4f} nats per token")


def test_another_text_is_judged_as_a_whole_or_by_a_split(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["bell", "noel", "cleo", "bode"] * 5))
    given = ["data=documents", f"data.path={other}", "data.val_fraction=0.5"]
    line = evaluate_run(trained, "val", given)
    assert "50 tokens of" in line  # ten documents of four characters and an end
    assert str(other) in line
    assert "over 100 tokens of" in evaluate_run(trained, None, given)
    assert evaluate_run(trained, "train", []).startswith("train ")
    assert evaluate_run(trained, None, []).startswith("val ")


def test_only_what_is_judged_is_encoded(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["zzzz", "xyxy", "cleo", "bode"]))
    given = ["data=documents", f"data.path={other}", "data.val_fraction=0.5", "data.shuffle=false"]
    assert "over 10 tokens" in evaluate_run(trained, "val", given)
    with pytest.raises(DataError, match="does not have 'x'"):
        evaluate_run(trained, None, given)


def test_a_loaded_run_judges_a_text_and_encodes_it_for_its_model(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("bell\nnoel\n")
    run = gptexp.load(trained)
    judged = run.evaluate(other.read_text())
    line = evaluate_run(trained, None, ["data=documents", f"data.path={other}"])
    assert f"{judged.loss:.4f} nats per token" in line and judged.tokens == 10
    assert run.evaluate("bell").tokens == 5  # one document is enough
    ids = run.encode("be")
    assert ids.shape == (1, 3)  # the boundary that begins a document, and two letters
    assert run.model(ids).shape == (1, 3, run.tokenizer.vocab_size)
    assert run.summary["best"]["step"] == run.step
    assert len(repr(run).splitlines()) == 3


def test_a_text_longer_than_the_context_is_one_line(trained):
    line = refusal(gptexp.load(trained).encode, "b" * 200)
    assert line.startswith("text: 201 tokens, and the model reads fewer. Fix: at most model.block")


@pytest.mark.parametrize(("text", "words"), [(5, "5 is no text"), (" ", "white space alone")])
def test_what_is_no_text_is_one_line(trained, text, words):
    assert words in refusal(gptexp.load(trained).evaluate, text)


def test_a_part_that_is_not_judged_may_be_short(finished, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("to be or not")  # nine characters to train on, and the context is 8
    given = ["data=text", f"data.path={other}", "data.val_fraction=0.5"]
    assert "over 5 tokens" in evaluate_run(finished, "val", given)
    given[-1] = "data.val_fraction=0.01"
    assert "val has 1" in refusal(evaluate_run, finished, "val", given)


@pytest.mark.parametrize(
    ("split", "overrides", "named"),
    [
        ("best", [], "--split"),
        ("test", [], "--split"),
        ("val", ["data.fraction=0.5"], "no data=... among them"),
        ("val", ["data=names", "data.val_fraction=0"], "data.val_fraction: 0.0 is not in"),
        ("val", ["data=names", "optim.lr=1"], "optim.lr=1 is none of data"),
    ],
)
def test_what_cannot_be_judged_is_refused(trained, split, overrides, named):
    assert named in refusal(evaluate_run, trained, split, overrides)


def test_a_text_that_has_changed_is_said_to_have(train, words, documents, tmp_path, warnings):
    trained = train(tmp_path / "outputs", *words)
    documents.write_text(documents.read_text() + "\nabel\n")
    evaluate_run(trained, "val", [])
    assert "has changed" in only(warnings())


def test_a_text_is_found_by_its_digest_where_it_has_moved(
    train, words, documents, tmp_path, monkeypatch, warnings
):
    runs = [train(tmp_path / "outputs", *words, f"seed={seed}") for seed in (0, 1)]
    before, together = evaluate_run(runs[0], "val", []), ensemble(runs).loss
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    documents.rename("data/another_name.txt")
    assert evaluate_run(runs[0], "val", []).partition(" tokens of ")[0] in before
    assert ensemble(runs).loss == together and not warnings()
    Path("data/another_name.txt").write_text("other\n" * 100)
    with pytest.raises(DataError, match=r"is not to be had\. Fix: put it into"):
        evaluate_run(runs[0], "val", [])


def test_B6_characters_that_the_run_does_not_know_are_refused(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("zzz\nabc\n" * 10)
    with pytest.raises(DataError, match="does not have 'z'"):
        evaluate_run(trained, "val", ["data=documents", f"data.path={other}"])
