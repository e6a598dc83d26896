"""What keeps these tests short: nothing measured or drawn in vain, one process of W&B's."""

import io
import sys
from collections.abc import Iterator

import pytest
from PIL import Image

from gptexp.inference.probe import Probe
from gptexp.tracking import pictures
from gptexp.training import throughput
from gptexp.training.throughput import Speed


@pytest.fixture(autouse=True)
def _no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "measure", lambda *_: Speed(trained=1e-6, evaluated=1e-6))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is drawn; each probe has one picture all the same, a pixel as bright as its step."""

    def pixel(probe: Probe) -> dict[str, bytes]:
        file = io.BytesIO()
        Image.new("L", (1, 1), probe.step).save(file, "PNG")
        return {"next_token": file.getvalue()}

    monkeypatch.setattr(pictures, "draw", pixel)


@pytest.fixture(scope="module")
def wandb_process() -> Iterator[None]:
    """W&B's process, which belongs to this one, is ended with the module."""
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
