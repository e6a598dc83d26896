"""Ctrl-C and the signals that end a job, as a request that the loop reads between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


def endings() -> list[int]:
    """The signals besides Ctrl-C that end a run, but for one that is ignored, as under nohup.

    SIGUSR2 is one where somebody listens to it: submitit, whom Slurm tells so that a job's time is
    up.
    """
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # not all on Windows
    ends = [n for n in numbers if n is not None and signal.getsignal(n) is not signal.SIG_IGN]
    time_is_up = getattr(signal, "SIGUSR2", None)
    heard = time_is_up is not None and callable(signal.getsignal(time_is_up))
    return [*ends, *([time_is_up] if heard else [])]


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
