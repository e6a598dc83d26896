"""Fine-tuning: what a run brings along that another one starts from."""

from pathlib import Path

import pytest
import torch
import yaml
from interruptions import finish, stop_before_step
from small_runs import CHOICES, SMALL, summary

import gptexp as package
from gptexp.config import from_overrides, to_dict
from gptexp.config.given import given_keys
from gptexp.errors import ConfigError
from gptexp.experiment.identity import identify
from gptexp.experiment.inherit import inherited
from gptexp.experiment.prepare import prepare
from gptexp.experiment.train import build_trainer
from gptexp.inference.weights import read_checkpoint
from gptexp.models.build import build_model
from gptexp.runs.checkpoint import Store
from gptexp.runs.directory import RunDirectory
from gptexp.runtime.random import stream_seed
from gptexp.sweep.points import points_of
from gptexp.tracking.tracker import open_tracker

ITS_OWN = ["optim=sgd", "optim.lr=0.02", "schedule=constant", "seed=3", "trainer.patience=4"]


@pytest.fixture
def base(command, small, once) -> Path:
    """A run by SGD, whose recipe is none of the defaults, in the current folder's outputs/."""
    return once(small(*ITS_OWN, "name=base"), Path.cwd() / "outputs")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A text of a few of the characters."""
    path = tmp_path / "other.txt"
    path.write_text("to be or not to be\n" * 60)
    return path


def runs_of(name: str) -> list[Path]:
    return sorted(Path("outputs", name).glob("*-s*"))


def words_for(base: Path, other: Path) -> list[str]:
    return [f"init_from={base}", "data=text", f"data.path={other}", "trainer.device=cpu"]


def test_a_warm_up_is_measured_by_the_length_that_the_run_brings(base, warnings):
    config = RunDirectory(base).config()
    config.trainer.max_steps = 9000
    (base / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    words = [f"init_from={base}", "schedule.warmup_steps=5000"]
    assert inherited(from_overrides(words), words).schedule.warmup_steps == 5000
    words = [f"init_from={base}", "trainer.max_steps=50"]
    inherited(from_overrides(words), words)
    assert warnings() == []


def test_a_run_brings_its_model_tokenizer_and_recipe(command, base, other):
    words = words_for(base, other)
    assert command(*words, "name=tuned", "logger=none").code == 0
    [run] = runs_of("tuned")
    stored, made = (to_dict(RunDirectory(path).config()) for path in (base, run))
    for section in ("model", "tokenizer", "optim", "schedule"):
        assert made[section] == stored[section]
    for key in ("max_steps", "batch_size", "eval_interval", "patience"):
        assert made["trainer"][key] == stored["trainer"][key]
    assert made["seed"] == 0 and made["trainer"]["sample_interval"] != 6, "these stay"
    theirs, ours = (read_checkpoint(path)["tokenizer"] for path in (base, run))
    assert ours == theirs
    assert summary(run)["steps"] == 12


def test_typed_out_it_is_the_same_run(command, base, other):
    words = words_for(base, other)
    typed = [word for word in SMALL if not word.startswith(("trainer.device", "data"))]
    typed += [word for word in ITS_OWN if not word.startswith("seed")]
    assert command(*typed, *words, "name=tuned", "logger=none").code == 0
    [run] = runs_of("tuned")
    done = command(*words, "name=tuned", "logger=none")
    assert done.code == 0 and "already done" in done.out
    assert runs_of("tuned") == [run]


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["optim.lr=0.5"], "optim.lr", 0.5),
        (["optim=adamw"], "optim.name", "adamw"),
        (["trainer.max_steps=2000"], "trainer.max_steps", 2000),  # which is the default's
        (["trainer.max_epochs=2"], "trainer.max_epochs", 2.0),
        (["model.dropout=0.3"], "model.dropout", 0.3),
        (["recipe=medium"], "trainer.batch_size", 64),
        (["model=tiny"], "model.n_layer", 2),
        (["model=medium"], "trainer.max_steps", 5000),
        (["experiment=microgpt"], "schedule.name", "linear"),
        (["sweeps=dropout_cliff"], "trainer.on_overfit", "observe"),
        (["trainer=default"], "trainer.max_steps", 2000),
    ],
)
def test_what_is_given_wins(base, other, words, key, value):
    words = [*words_for(base, other), *words]
    section, field = key.split(".")
    made = to_dict(inherited(from_overrides(words), words))
    assert made[section][field] == value
    assert made["tokenizer"]["name"] == "char"


def test_one_budget_replaces_another(command, base, other):
    words = [*words_for(base, other), "trainer.max_epochs=2"]
    assert command(*words, "name=epochs", "logger=none").code == 0
    [run] = runs_of("epochs")
    words = [*words_for(run, other), "trainer.max_tokens=64"]
    trainer = inherited(from_overrides(words), words).trainer
    assert (trainer.max_epochs, trainer.max_tokens) == (None, 64)


def test_a_key_that_the_section_of_the_run_lacks_is_a_line(command, base, other):
    done = command(*words_for(base, other), "optim.beta1=0.8")
    assert done.code == 2
    [line] = done.errors
    assert line == (
        f"optim.beta1: optim=sgd of {base} has no such key. "
        "Fix: leave it out, or choose optim=adamw"
    )
    assert command(*words_for(base, other), "optim.beta1=0.8", "optim=adamw").code == 0


def test_every_choice_has_keys_and_one_elsewhere_may_give_all():
    for group in ("model", "recipe", "experiment"):
        for name in CHOICES[group]:
            assert given_keys([f"{group}={name}"])
    assert {"model", "trainer.batch_size"} <= given_keys(["experiment=microgpt"])
    assert given_keys(["recipe=modern_small"]) == given_keys(["recipe=small"])
    assert {"optim", "trainer"} <= given_keys(["experiment=mine"])
    assert given_keys(["experiment=null", "+seed=1"]) == {"seed"}


@pytest.mark.slow
def test_a_sweep_over_runs_takes_the_recipe_of_each(command, base, other, text_file):
    words = [word for word in SMALL if not word.startswith("model.n_embd")]
    assert command(*words, f"data.path={text_file}", "model.n_embd=8", "name=wide").code == 0
    [second] = runs_of("wide")
    given = [f"init_from={base},{second}", f"data.path={other}", "data=text", "name=both"]
    assert command("-m", *given, "logger=none", "trainer.device=cpu").code == 0
    configs = [RunDirectory(run).config() for run in runs_of("both")]
    assert {(c.init_from, c.model.n_embd, c.optim.name) for c in configs} == {
        (str(base), 16, "sgd"),
        (str(second), 8, "adamw"),
    }


def test_a_point_whose_run_is_damaged_is_refused_alone(base, other):
    (base / "config.yaml").write_text("model: [")
    words = words_for(base, other)
    [point] = points_of([(words, from_overrides(words))])
    assert isinstance(point.config, ConfigError)
    assert str(base / "config.yaml") in str(point.config)


@pytest.mark.slow
def test_a_stored_config_refers_to_nothing(base, other, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    values = yaml.safe_load((base / "config.yaml").read_text())
    values["model"]["name"] = "${oc.env:SECRET}"
    (base / "config.yaml").write_text(yaml.safe_dump(values))
    words = words_for(base, other)
    assert inherited(from_overrides(words), words).model.name == "${oc.env:SECRET}"


def test_a_lone_checkpoint_brings_the_same_along(base, other, tmp_path):
    torch.save(read_checkpoint(base), tmp_path / "a.pt")
    words, lone = words_for(base, other), words_for(tmp_path / "a.pt", other)
    made = [inherited(from_overrides(given), given) for given in (words, lone)]
    hashes = [identify(config, tmp_path).hash for config in made]
    assert hashes[0] == hashes[1]


def test_a_fine_tuned_run_goes_on_bit_for_bit(base, other, tmp_path):
    words = [*words_for(base, other), "logger=none", "trainer.sample_tokens=8"]
    config = inherited(from_overrides(words), words)
    expected = finish(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "stopped", 5)
    assert finish(config, tmp_path / "stopped") == expected


@pytest.mark.slow
def test_the_verbs_read_a_fine_tuned_run(command, gptexp, base, other):
    assert command(*words_for(base, other), "name=tuned", "logger=none").code == 0
    [run] = runs_of("tuned")
    assert gptexp("sample", run, "--prompt", "question", "--tokens", "5").code == 0
    assert f"of {other}" in gptexp("evaluate", run).out
    shown = gptexp("table", "outputs/tuned")
    assert shown.code == 0 and f"{summary(run)['best']['val_loss']:.4f}" in shown.out
    assert gptexp("evaluate", run, "data=text", f"data.path={other}").code == 0
    planned = gptexp("plan", *words_for(base, other), "name=tuned", "logger=none")
    assert planned.code == 0 and "1 done" in planned.out
    shown = gptexp("params", *words_for(base, other)).out
    assert shown.startswith("laptop, 16 tokens in the vocabulary"), "those of the run"


@pytest.mark.slow
def test_a_config_of_ones_own_takes_weights_and_tokenizer_alone(command, base, other, small):
    config = small(*ITS_OWN, "optim=adamw", "trainer.max_steps=2")
    config.init_from, config.data.path = str(base), str(other)
    outcome = package.train(config, quiet=True)
    made = RunDirectory(outcome.path).config()
    assert (made.optim.name, made.trainer.max_steps) == ("adamw", 2)
    assert read_checkpoint(outcome.path)["tokenizer"] == read_checkpoint(base)["tokenizer"]
    words = [*words_for(base, other), "logger=none"]
    assert RunDirectory(package.train(words, quiet=True).path).config().optim.name == "sgd"


@pytest.mark.slow
@pytest.mark.parametrize("shape", [[], ["model.tie_head=false"]])
def test_an_extended_vocabulary_keeps_its_rows_and_draws_those_of_new_characters(
    command, gptexp, text_file, other, tmp_path, shape
):
    assert command(*SMALL, *shape, f"data.path={text_file}", "name=base").code == 0
    [base] = runs_of("base")
    other.write_text("to be, or not to be: zürich\n" * 60)
    assert "tokenizer.extend=true" in command(*words_for(base, other)).errors[0]
    words = [*words_for(base, other), "tokenizer.extend=true", "logger=none"]
    config = inherited(from_overrides(words), words)
    identity = identify(config, tmp_path)
    inputs = prepare(config, identity)
    old = read_checkpoint(base)
    known = old["tokenizer"]["characters"]
    assert inputs.tokenizer.to_dict()["characters"] == known + ",:czü"
    with open_tracker(config.logger, tmp_path, to_dict(config), None) as tracker:
        store = Store(tmp_path / "checkpoints")
        trainer = build_trainer(config, identity, inputs, store, tracker)
    weights = trainer.parts.model.state_dict()
    for name, value in old["model"].items():
        assert torch.equal(weights[name][: len(value)], value), name
    drawn = build_model(config.model, len(known) + 5, stream_seed(config.seed, "init"))
    for name in ("token_table.weight", "head.weight"):
        assert torch.equal(weights[name][len(known) :], drawn.state_dict()[name][len(known) :])
    expected = finish(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "stopped", 5)
    assert finish(config, tmp_path / "stopped") == expected
    [run] = (tmp_path / "straight").glob("*/*")
    assert gptexp("sample", run, "--prompt", "zürich", "--tokens", "5").code == 0
    words = words_for(run, text_file)
    again = inherited(from_overrides(words), words)
    assert not again.tokenizer.extend, "the vocabulary comes along as it is"


def test_extending_nothing_is_refused(refused, text_file):
    [line] = refused("tokenizer.extend=true", "data=text", f"data.path={text_file}")
    assert line.startswith("tokenizer.extend: there is no init_from whose vocabulary to extend")
