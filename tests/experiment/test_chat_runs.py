"""Runs of conversations from start to end: what they leave, taken up, made again, refused."""

import pytest
from chat_runs import trained
from interruptions import finish, stop_before_step, uninterrupted
from small_runs import metrics, only, problem_lines, summary

from gptexp.analysis.records import collect
from gptexp.analysis.table import Query, build_table
from gptexp.config import check
from gptexp.errors import ConfigError, DataError
from gptexp.experiment.reproduce import reproduce
from gptexp.explain.command import explain
from gptexp.playground.contents import contents


def test_accuracy_stands_wherever_the_loss_does(chat_config, tmp_path):
    run = trained(chat_config("data.test_fraction=0.2", "logger=tensorboard"), tmp_path / "outputs")
    told = summary(run)
    judged = {line["step"]: line for line in metrics(run) if "val/accuracy" in line}
    best = judged[told["best"]["step"]]
    assert told["best"]["val_accuracy"] == best["val/accuracy"]
    assert told["final"]["val_accuracy"] == metrics(run)[-1]["val/accuracy"]
    assert 0 <= told["test"]["accuracy"] <= 1
    [found], _ = collect([run.parent])
    assert found.accuracy == best["val/accuracy"]
    table = build_table(
        [run.parent], Query(columns=["accuracy", "best.val_accuracy", "val/accuracy"])
    )
    assert list(table.rows[0].values()) == [best["val/accuracy"]] * 2 + [
        told["final"]["val_accuracy"]
    ]
    assert "accuracy" in build_table([run.parent], Query(by=["seed"])).columns


def test_the_evaluations_may_be_capped_and_the_end_judges_all(chat_config, tmp_path):
    run = trained(chat_config("trainer.eval_tokens=20"), tmp_path / "outputs")
    told = summary(run)
    assert told["final"]["capped"]["val_accuracy"] == metrics(run)[-1]["val/accuracy"]
    assert reproduce(run, "verify", None, lambda line: None) == 0


@pytest.mark.parametrize("step", [1, 5, 10])
def test_a_run_that_was_stopped_equals_the_uninterrupted_one(chat_config, tmp_path, step):
    config = chat_config("model.dropout=0.1", "trainer.batch_size=5")
    expected = uninterrupted(config, tmp_path / "straight")
    config.trainer.checkpoint_interval = 1
    stop_before_step(config, tmp_path / "stopped", step)
    assert finish(config, tmp_path / "stopped") == expected


def test_a_run_is_what_it_says(chat_run):
    lines = []
    assert reproduce(chat_run, "verify", None, lines.append) == 0
    assert lines[-1].startswith("IDENTICAL")


@pytest.mark.slow
def test_its_first_steps_are_the_same_when_made_again(chat_run):
    lines = []
    assert reproduce(chat_run, "prefix", 3, lines.append) == 0
    assert lines[-1].startswith("IDENTICAL")


@pytest.mark.slow
def test_it_starts_from_a_run_of_a_text(chat_config, small, tmp_path):
    """By bytes as it is; by characters with new rows for the marks."""
    base = trained(small("tokenizer=byte", "model.block_size=24"), tmp_path / "outputs")
    run = trained(chat_config(f"init_from={base}"), tmp_path / "outputs")
    assert metrics(run)[0]["val/accuracy"] == 0
    other = trained(small("model.block_size=24"), tmp_path / "outputs")
    plain = chat_config(f"init_from={other}", "tokenizer=char")
    with pytest.raises(AssertionError, match="tokenizer.extend=true"):
        trained(plain, tmp_path / "outputs")
    trained(chat_config(f"init_from={other}", "tokenizer=char", "tokenizer.extend=true"), tmp_path)


def test_what_is_about_texts_says_so(chat_run):
    with pytest.raises(ConfigError, match="of conversations, whose answers alone are learned"):
        explain(str(chat_run), [], None)
    with pytest.raises(ConfigError, match="answers questions, and a page continues texts"):
        contents(chat_run, "chat", "float16")


@pytest.mark.parametrize("words", ["data.documents=true", "data.tokens=true"])
def test_conversations_are_a_kind_of_their_own(chat_config, words):
    with pytest.raises(ConfigError) as caught:
        check(chat_config(words))
    told = [line for line in problem_lines(caught.value) if line.startswith("data.chat")]
    assert only(told).endswith("conversations are a kind of their own. Fix: data.chat=false")


def test_a_mix_has_none(composed):
    from gptexp.data.load import read_corpus

    config = composed("data=mix", "data.parts.dialogues=1", "data.parts.shakespeare=1")
    with pytest.raises(DataError, match="conversations, and a mix is of texts or of documents"):
        read_corpus(config.data)
