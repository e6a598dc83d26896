"""Hydra reads each shipped file of conf/ once, and merges them once for each set of choices.

A composition takes it a tenth of a second, nearly all of it for that. Values are still set by Hydra
itself, each time, and a search path with a folder of a test's own is Hydra's alone, as is a
composition beside variants of own code.

A stored config is merged into its schema once, which takes a hundredth of a second.
"""

import copy
from typing import Any

import pytest
from hydra._internal import config_loader_impl as hydra_loader
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig
from small_runs import CONF

from gptexp import plugins
from gptexp.config import stored

READ: dict[str, Any] = {}  # files with their headers, by path
CHOSEN: dict[str, Any] = {}  # Hydra's lists of defaults, by what was chosen
COMPOSED: dict[str, DictConfig] = {}  # what is composed of them, by such a list
MERGED: dict[tuple[tuple[type, ...], str], DictConfig] = {}  # by variants and values; only read


def remember(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the fixture ends."""
    merge = stored._merged
    read = ConfigRepository.load_config
    choose = hydra_loader.create_defaults_list
    compose = hydra_loader.ConfigLoaderImpl._compose_config_from_defaults_list

    def merged(variants: tuple[type, ...], values: dict[str, Any]) -> DictConfig:
        try:
            key = (variants, repr(values))
        except RecursionError:
            return merge(variants, values)
        if key not in MERGED:
            if len(MERGED) == 100:
                MERGED.clear()
            MERGED[key] = merge(variants, values)
        return MERGED[key]

    def read_once(repo: ConfigRepository, config_path: str) -> Any:
        if not _all_shipped(repo.get_sources()):
            return read(repo, config_path)
        if config_path not in READ:
            READ[config_path] = read(repo, config_path)
        return copy.deepcopy(READ[config_path])

    def chosen(repo: Any, config_name: str, overrides_list: list[Override], **options: Any) -> Any:
        overrides = [override for override in overrides_list if not override.is_sweep_override()]
        choices = [o.input_line for o in overrides if repo.group_exists(o.key_or_group)]
        key = repr((config_name, choices, options))
        if not _all_shipped(repo.get_sources()):
            return choose(repo, config_name, overrides_list, **options)
        if key not in CHOSEN:
            CHOSEN[key] = choose(repo, config_name, overrides_list, **options)
        found = copy.copy(CHOSEN[key])
        found.config_overrides = [o for o in overrides if o.input_line not in choices]
        return found

    def composed(loader: Any, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        if not _all_shipped(repo.get_sources()):
            return compose(loader, defaults, repo)
        key = repr(defaults)
        if key not in COMPOSED:
            COMPOSED[key] = compose(loader, defaults, repo)
        return copy.deepcopy(COMPOSED[key])

    monkeypatch.setattr(stored, "_merged", merged)
    monkeypatch.setattr(ConfigRepository, "load_config", read_once)
    monkeypatch.setattr(hydra_loader, "create_defaults_list", chosen)
    monkeypatch.setattr(
        hydra_loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", composed
    )


def _all_shipped(sources: list[ConfigSource]) -> bool:
    if any(plugin.config is not None for plugin in plugins._registered):
        return False
    return {source.path for source in sources if source.scheme() == "file"} <= {str(CONF)}
