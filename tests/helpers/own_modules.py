"""Modules of own code: those that a page shows, and one process that is to forget them."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from gptexp import plugins
from gptexp.config.schema import OWN_SECTIONS

MODULE = re.compile(r"^`(\w+)\.py`:\n\n```python\n(.*?)^```$", re.M | re.S)


def modules_of(page: str) -> dict[str, str]:
    """The sources that a page shows under `name.py`, by name."""
    return dict(MODULE.findall(page))


@contextmanager
def written(sources: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sources as modules of the current folder, all of which are forgotten at the end."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, source in sources.items():
        Path(f"{name}.py").write_text(source)
    try:
        yield
    finally:
        forget()


def forget() -> None:
    """Have the modules of the current folder as if they had not been imported."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{Path.cwd()}/"):
            del sys.modules[name]
    repo = ConfigStore.instance().repo
    for plugin in plugins._registered:
        if plugin.moment in OWN_SECTIONS:
            for group in (repo, repo["schema"]):
                group.get(plugin.moment, {}).pop(f"{plugin.name}.yaml", None)
    plugins._registered.clear()
