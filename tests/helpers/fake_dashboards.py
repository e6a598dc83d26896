"""Dashboards that raise, hang or take notes."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptexp.config import LoggerConfig
from gptexp.tracking import tracker
from gptexp.tracking.background import Background
from gptexp.tracking.dashboard import Dashboard
from gptexp.tracking.tracker import Tracker

METHODS = [name for name in vars(Dashboard) if not name.startswith("_")]
HANGS = 60.0  # seconds that a fake may block when a test fails to release it


class Fake:
    """A dashboard that notes its calls, and fails or blocks in those of one kind."""

    def __init__(self, fails: str = "", error: BaseException | None = None) -> None:
        assert fails in ("", "open", *METHODS)
        self.fails, self.error = fails, error
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.blocked, self.released = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in METHODS:
            raise AttributeError(name)
        return lambda *arguments: self.take(name, arguments)

    def take(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((name, arguments))
        if name == self.fails:
            if self.error is not None:
                raise self.error
            self.blocked.set()
            self.released.wait(HANGS)

    def open(self) -> Any:
        if self.fails == "open":
            self.take("open", ())
        return self

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    @property
    def exit_codes(self) -> list[int]:
        return [arguments[0] for name, arguments in self.calls if name == "close"]


def mirrored(patch: pytest.MonkeyPatch, *mirrors: Fake) -> None:
    """Have the next runs use `mirrors` for dashboards."""

    def open_mirrors(*_: object) -> list[Background]:
        return [Background(f"Fake{n}", fake.open) for n, fake in enumerate(mirrors)]

    patch.setattr(tracker, "open_dashboards", open_mirrors)


def tracked(folder: Path, resume_step: int | None = None) -> Tracker:
    """The tracker of a run in `folder` that asks for no dashboards but those of `mirrored`."""
    cfg = LoggerConfig(name="none", tensorboard=False)
    return tracker.open_tracker(cfg, folder, {"name": "group"}, resume_step)


def lacking(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "lacks" in r.getMessage()]
