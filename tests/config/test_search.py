"""What a search varies, as it is typed, and its settings."""

import pytest

from gptexp.config.search import Choices, Interval, space
from gptexp.errors import ConfigError


def test_what_is_searched_over_is_told_from_what_all_trials_have():
    found = space(
        None,
        {"optim.lr": "interval(1e-3,1e-2)", "seed": "0,1"},
        ["seed=3", "model=choice(tiny,small)", "name=x"],
    )
    assert found.fixed == ["seed=3", "name=x"]
    assert found.dimensions == [
        Interval("optim.lr", 1e-3, 1e-2),
        Choices("model", ("tiny", "small")),
    ]


@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("optim.lr=tag(log,interval(1e-4,1))", Interval("optim.lr", 1e-4, 1.0, log=True)),
        ("optim.lr=interval(0,1)", Interval("optim.lr", 0.0, 1.0)),
        ("model.n_layer=interval(1,8)", Interval("model.n_layer", 1, 8)),
        ("model.n_layer=interval(0.5,8.5)", Interval("model.n_layer", 1, 8)),
        ("model.n_layer=range(1,8,2)", Interval("model.n_layer", 1, 7, step=2)),
        ("model.n_layer=range(8,1,-2)", Interval("model.n_layer", 2, 8, step=2)),
        ("model.dropout=range(0,1,0.25)", Interval("model.dropout", 0.0, 0.75, step=0.25)),
        ("model.n_layer=1,2,2", Choices("model.n_layer", ("1", "2"))),
        ("init_from='a b',c", Choices("init_from", ("'a b'", "c"))),
    ],
)
def test_each_kind_of_word_is_one_kind_of_dimension(word, dimension):
    [found] = space(None, None, [word]).dimensions
    assert found == dimension
    assert {*map(type, found.ends)} == {*map(type, dimension.ends)}


@pytest.mark.parametrize(
    ("dimension", "value", "text"),
    [
        (Interval("optim.lr", 1e-4, 1.0), 0.00123456789, "0.001235"),
        (Interval("optim.lr", 0.12344, 1.0), 0.123441, "0.12344"),
        (Interval("optim.lr", 1e-6, 1.0), 1.23e-6, "1.23e-06"),
        (Interval("model.dropout", 0.1, 0.3, step=0.1), 0.1 + 2 * 0.1, "0.3"),
        (Interval("model.n_layer", 1, 8), 3, "3"),
        (Choices("data.path", ("'a b'",)), "'a b'", "'a b'"),
    ],
)
def test_a_value_is_as_one_would_type_it(dimension, value, text):
    assert dimension.text(value) == text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["seed=1"], "hydra/sweeper=optuna: nothing to search over. Fix: give a key values"),
        (["optim.lr=interval(1,0)"], r"optim.lr: interval\(1.0,0.0\) is none. Fix: the lower end"),
        (["optim.lr=tag(log,interval(0,1))"], "the lower end first, above 0, and finite"),
        (["optim.lr=interval(0,inf)"], "and finite"),
        (
            ["model.n_layer=interval(0.2,0.8)"],
            r"no whole number is in interval\(0.2,0.8\). Fix: whole ends, as in "
            r"model.n_layer=interval\(1,2\)",
        ),
        (["name=a,b"], "name: the runs of a search lie in one folder, beside its study"),
        (["tokenizer=char,byte"], "tokenizer: a search goes by losses per token, which compare"),
        (["tokenizer.vocab_size=range(300,400)"], "tokenizer: a search goes by losses per token"),
        (
            ["data.val_fraction=0.1,0.2"],
            "data.val_fraction: a search goes by losses, which compare",
        ),
        (["++data.shuffle=true,false"], "^data.shuffle: a search goes by losses, which compare"),
        (["data.documents=true,false"], "data.documents: a search goes by losses, which compare"),
        (["data.parts.a=0,1"], "data.parts.a: a search goes by losses, which compare on one text"),
        (["seed=range(5,5)"], r"seed: range\(5,5\) holds no value"),
    ],
)
def test_a_space_that_is_none_is_one_line(words, line):
    with pytest.raises(ConfigError, match=line):
        space(None, None, words)
