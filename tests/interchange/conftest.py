"""MicroGPTs to be exported and imported; a cache for links to runs."""

from pathlib import Path

import pytest
from micro_runs import documents, foreign, train, trained, words

__all__ = ["documents", "foreign", "train", "trained", "words"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, for one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
