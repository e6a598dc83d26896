"""What keeps these tests short: nothing measured or drawn in vain, one process of W&B's."""

import sys
from collections.abc import Iterator

import pytest
from event_files import PNG

from gptexp.tracking import pictures
from gptexp.training import throughput
from gptexp.training.throughput import Speed


@pytest.fixture(autouse=True)
def _no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "measure", lambda *_: Speed(trained=1e-6, evaluated=1e-6))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is drawn; each probe has one file of its own all the same."""
    monkeypatch.setattr(pictures, "draw", lambda probe: {"next_token": PNG + bytes([probe.step])})


@pytest.fixture(scope="module")
def wandb_process() -> Iterator[None]:
    """W&B's process, which belongs to this one, is ended with the module."""
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
