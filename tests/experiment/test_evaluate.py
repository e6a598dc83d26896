"""`gptexp evaluate`: a run's best weights, on its own text or on another one."""

import pytest
from small_runs import only, refusal

from gptexp.analysis import records
from gptexp.errors import DataError
from gptexp.experiment.evaluate import evaluate_run


def test_the_loss_of_the_best_checkpoint_is_that_which_was_logged(trained):
    best = records.collect([trained])[0][0].best
    assert evaluate_run(trained, "val", []).startswith(f"val     {best:.4f} nats per token")


def test_another_text_and_split_are_judged(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["bell", "noel", "cleo", "bode"] * 5))
    given = ["data=documents", f"data.path={other}", "data.val_fraction=0.5"]
    line = evaluate_run(trained, "val", given)
    assert "50 tokens of" in line  # ten documents of four characters and an end
    assert str(other) in line
    assert evaluate_run(trained, "train", []).startswith("train ")


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


def test_B6_characters_that_the_run_does_not_know_are_refused(trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("zzz\nabc\n" * 10)
    with pytest.raises(DataError, match="does not have 'z'"):
        evaluate_run(trained, "val", ["data=documents", f"data.path={other}"])
