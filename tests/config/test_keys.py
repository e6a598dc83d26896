"""`gptexp config` and `python run.py --help`: every key in words."""

import pytest
from small_runs import refusal

from gptexp.config.keys import GROUPS, all_keys, describe, help_text


def test_help_names_every_group_with_its_choices_and_every_key_and_nothing_internal():
    text = help_text()
    assert "  optim       adam, adamw, count, muon, sgd\n" in text
    for name in [*GROUPS, *(key.name for key in all_keys())]:
        assert f"\n  {name} " in text, name
    assert "schema" not in text


def test_help_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, help_text().splitlines())) <= 80


def test_a_key_goes_by_its_end_and_says_its_value_by_default():
    assert describe("lr").splitlines() == [
        "optim.lr",
        "  type        float",
        "  meaning     peak learning rate",
        "  by default  0.001",
    ]
    assert "  type        stop, observe" in describe("trainer.on_overfit")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rerun", "false"),
        ("logger.tensorboard", "true"),
        ("init_from", "null"),
        ("plugins", "[]"),
        ("trainer.max_steps", "2000"),
        ("trainer.device", "auto"),
    ],
)
def test_a_value_is_shown_as_one_types_it(key, value):
    assert describe(key).endswith(f"by default  {value}")


def test_a_key_of_one_choice_says_so_and_has_no_value_of_another():
    """The width of model=mlp is not that of the GPT which is the default."""
    of_gpt, of_mlp = describe("n_embd").split("\n\n")
    assert "of          model.kind=gpt\n  by default  128" in of_gpt
    assert of_mlp.endswith("  of       model.kind=mlp")


def test_a_group_says_its_choices_and_keys():
    lines = describe("schedule").splitlines()
    assert lines[0] == "schedule=constant|cosine|linear|wsd"
    assert len([line for line in lines if line.startswith("  schedule.")]) == 5


@pytest.mark.parametrize(("word", "fix"), [("batchsize", "batch_size?"), ("qqq", "lists them")])
def test_an_unknown_key_is_one_line(word, fix):
    assert refusal(describe, word).endswith(fix)
