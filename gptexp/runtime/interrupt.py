"""Ctrl-C, SIGTERM and SIGHUP as a request that the loop reads between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


def endings() -> list[int]:
    """The signals besides Ctrl-C that end a run, but for one that is ignored, as under nohup."""
    found = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows has no second
    return [n for n in found if n is not None and signal.getsignal(n) is not signal.SIG_IGN]


class Interrupt:
    """While active, the first signal sets `requested`; the second acts as it would have before."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, *endings())
            }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
