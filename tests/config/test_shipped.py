"""What is shipped composes: every choice, every recipe, every experiment."""

import pytest
import yaml
from small_runs import CHOICES, CONF, SMALL

from gptexp.config import (
    AdamWConfig,
    Config,
    problems,
    to_dict,
)


def assert_legal(config: Config) -> None:
    assert isinstance(config, Config)
    assert problems(config) == []


BASELINES = ["bigram", "mlp"]  # whose recipes know no dropout

GPTS = [name for name in CHOICES["model"] if name not in BASELINES]


@pytest.mark.parametrize(
    ("model", "recipe"),
    [(model, "laptop") for model in GPTS] + [("laptop", recipe) for recipe in CHOICES["recipe"]],
)
def test_every_model_composes_with_any_recipe(composed, model, recipe):
    config = composed(f"model={model}", f"recipe={recipe}")
    assert_legal(config)
    assert config.model.name == model


NEEDED = {  # beside a choice
    "text": ["data.path=x.txt"],
    "chat": ["data.path=x.jsonl"],
    "mix": ["data.parts.shakespeare=1"],
    "documents": ["data.path=x.txt"],
    "bigram": ["optim=count"],
    "count": ["model=bigram"],
    "tokens": ["data.path=x.bin"],
    "stored": ["data=tokens", "data.path=x.bin"],
}


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group, choices in CHOICES.items()
        for choice in choices
        if group not in ("recipe", "experiment")
    ],
)
def test_every_choice_of_every_group_composes_and_is_labelled_by_its_file(composed, group, choice):
    given = [f"{group}={choice}", *NEEDED.get(choice, [])]
    config = composed(*given)
    assert_legal(config)
    section = getattr(config, group)
    assert getattr(section, "name", choice) == choice


@pytest.mark.parametrize("experiment_name", CHOICES["experiment"])
def test_every_experiment_composes_and_groups_its_runs_under_its_name(composed, experiment_name):
    config = composed(f"experiment={experiment_name}")
    assert_legal(config)
    assert config.name == experiment_name


@pytest.mark.parametrize("model", CHOICES["model"])
def test_a_model_brings_its_own_recipe(composed, model):
    assert model in CHOICES["recipe"]
    assert composed(f"model={model}") == composed(f"model={model}", f"recipe={model}")
    stored = yaml.safe_load((CONF / "recipe" / f"{model}.yaml").read_text())
    for base in stored.pop("defaults", []):
        stored |= yaml.safe_load((CONF / "recipe" / f"{base}.yaml").read_text())
    config = to_dict(composed(f"model={model}"))
    for section, values in stored.items():
        assert values.items() <= config[section].items()


def test_a_model_composes_without_a_recipe(composed):
    stored = yaml.safe_load((CONF / "trainer" / "default.yaml").read_text())
    config = composed("model=medium", "~recipe")
    assert_legal(config)
    assert config.trainer.batch_size == stored["batch_size"]


def test_another_recipe_wins_over_the_model_s_own(composed):
    own, other = composed("model=medium"), composed("model=medium", "recipe=laptop")
    assert (own.trainer.batch_size, other.trainer.batch_size) == (64, 12)


def test_an_override_wins_over_the_recipe_and_changes_nothing_else(composed):
    plain, changed = composed("model=medium"), composed("model=medium", "trainer.batch_size=5")
    assert changed.trainer.batch_size == 5
    changed.trainer.batch_size = plain.trainer.batch_size
    assert changed == plain


def test_claim_3_medium_with_its_recipe_is_the_workshop_s_setting(composed):
    config = composed("model=medium")
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd) == (6, 6, 384)
    assert config.trainer.batch_size * config.trainer.grad_accum * config.model.block_size == 16384
    assert config.optim == AdamWConfig(
        name="adamw", lr=1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8
    )
    assert (config.trainer.grad_clip, config.trainer.max_steps) == (1.0, 5000)
    assert (config.schedule.name, config.schedule.warmup_steps) == ("cosine", 100)
    assert config.schedule.final_fraction == 0.1
    assert config.model.dropout == 0


def test_the_small_run_of_the_other_tests_is_legal(small):
    assert problems(small()) == []
    assert len(SMALL) == len({item.partition("=")[0] for item in SMALL})
