"""Between Hydra and the typed Config: schemas in, dataclasses out.

Hydra and OmegaConf are imported where they are used: a table of runs needs neither.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from gptexp.config import own
from gptexp.config.arguments import checked
from gptexp.config.hydra_errors import explain, is_config_error
from gptexp.config.names import CONF_DIR
from gptexp.config.schema import SINGLE, VARIANTS, Config, fitted
from gptexp.config.stored import objects
from gptexp.config.words import as_typed
from gptexp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

PLUGINS = "hydra_plugins.gptexp_points"  # Hydra takes plugins from there alone
SWEEPER, SEARCH = f"{PLUGINS}.PointsSweeper", f"{PLUGINS}.SearchSweeper"

SWEEPERS: dict[str, dict[str, Any]] = {  # choices of groups below hydra/, by group and name
    "sweeper/points": {"_target_": SWEEPER, "max_batch_size": None, "params": None},
    "sweeper/optuna": {  # what each key is for: config/search.py
        "defaults": [{"sampler": "tpe"}, {"pruner": "none"}, "_self_"],
        "_target_": SEARCH,
        "_recursive_": False,  # Optuna may not be there
        "n_trials": 20,
        "n_jobs": 2,
        "direction": "minimize",
        "study_name": None,
        "storage": None,
        "params": None,
    },
    "sweeper/sampler/tpe": {
        "_target_": "optuna.samplers.TPESampler",
        "seed": 0,
        "n_startup_trials": 10,
        "n_ei_candidates": 24,
        "multivariate": False,
    },
    "sweeper/sampler/random": {"_target_": "optuna.samplers.RandomSampler", "seed": 0},
    "sweeper/pruner/none": {"_target_": "optuna.pruners.NopPruner"},
    "sweeper/pruner/median": {
        "_target_": "optuna.pruners.MedianPruner",
        "n_startup_trials": 5,
        "n_warmup_steps": 0,  # of training
    },
}


@cache
def register() -> None:
    """Put the dataclasses where the YAML files' defaults lists find them: `/schema/...`.

    Once in a process is enough. The sweepers stand beside them, so that a config composes wherever
    the plugin is.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    for group, node in SINGLE.items():
        store.store(group="schema", name=group, node=_open(OmegaConf.structured(node)))
    for group, variants in VARIANTS.items():
        for name, node in variants.items():
            store.store(group=f"schema/{group}", name=name, node=node)
    for path, values in SWEEPERS.items():
        group, _, name = f"hydra/{path}".rpartition("/")
        store.store(group=group, name=name, node=values)


def _open(section: "DictConfig") -> "DictConfig":
    """The section with tables that take any key, so that `data.parts.mine=1` needs no plus."""
    from omegaconf import DictConfig

    for _, value in section.items_ex(resolve=False):
        if isinstance(value, DictConfig):
            value._set_flag("struct", False)
    return section


def typed(cfg: "DictConfig", words: Sequence[str] = ()) -> Config:
    """The composed config of a command as dataclasses, after which no DictConfig is seen.

    Raises ConfigError, worded by the overrides that gave its values.
    """
    config = objects(cfg, words)
    # Of another run warm-up and length are still to come, see experiment/inherit.py.
    starts = (config.init_from is None) != (config.branch_from is None)
    return config if starts else fitted(config)


def from_overrides(overrides: list[str]) -> Config:
    """The config that `python run.py OVERRIDES` would run; raises ConfigError."""
    from hydra import compose

    overrides = checked(overrides)
    with composing(overrides):
        return typed(compose("config", overrides=as_typed(overrides)), overrides)


def single_run(words: list[str]) -> Config | None:
    """The config of a command that trains one run; None for one that is Hydra's to answer.

    That is one with an option, with a setting of Hydra's, or whose config asks for a sweep. Hydra
    itself would compose twice, the first time to see which of both it is. Raises ConfigError.
    """
    if any(re.match(r"-|[+~]*hydra\b|[^=]*$", word) for word in words):
        return None
    from hydra import compose
    from hydra.types import RunMode

    with composing(words):
        cfg = compose("config", overrides=as_typed(words), return_hydra_config=True)
        return None if cfg.hydra.mode is RunMode.MULTIRUN else typed(without_hydra(cfg), words)


@contextmanager
def composing(words: Sequence[str]) -> Iterator[None]:
    """Hydra with conf/ and the schemas.

    Own code that they need is imported. What it says of a config that these words make wrong is
    raised as ConfigError.
    """
    from hydra import initialize_config_dir

    register()
    own.load_for(words)
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            yield
    except Exception as error:
        if not is_config_error(error):
            raise
        raise ConfigError(explain(error, words)) from error


def without_hydra(cfg: "DictConfig") -> "DictConfig":
    """The run's part of a composed config, which loses Hydra's: to copy that takes long."""
    from omegaconf import open_dict, read_write

    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    return cfg
