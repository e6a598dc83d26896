"""The Chromium that tests of pages open."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")  # as systems call it

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]  # as a container wants it


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, of the system or else of playwright; without either the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        programs = [*filter(None, map(shutil.which, NAMES)), driver.chromium.executable_path]
        program = next((path for path in programs if Path(path).exists()), None)
        if program is None:
            pytest.skip("there is no chromium on this machine")
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
