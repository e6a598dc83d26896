"""One Chromium for the tests of a file, where there is one, and microGPTs on a page."""

import pytest
from browsers import chromium
from micro_runs import documents, train, trained, words

__all__ = ["documents", "train", "trained", "words"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened
