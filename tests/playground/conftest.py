"""One Chromium for the tests of a file, where there is one."""

import pytest
from browsers import chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened
