"""Wall time of a run, and its training speed without the pauses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds in fit over all resumes, in training since the last lap, and since the last save."""

    def __init__(self) -> None:
        self.before = 0.0  # seconds in the processes before this one
        self.start()

    def start(self) -> None:
        """Set all counts of this process to zero."""
        self._started = self._saved = self._lap = time.perf_counter()
        self._pauses = 0.0

    def seconds(self) -> float:
        """Wall time of the run, over all its processes."""
        return self.before + time.perf_counter() - self._started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens inside out of the training speed."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._pauses += time.perf_counter() - began

    def lap(self) -> float:
        """Seconds of training since the last lap."""
        now = time.perf_counter()
        training = now - self._lap - self._pauses
        self._lap, self._pauses = now, 0.0
        return max(training, 1e-9)

    def saved(self) -> None:
        """Note that a checkpoint was written."""
        self._saved = time.perf_counter()

    def since_saved(self) -> float:
        """Seconds since the last checkpoint, or since the start."""
        return time.perf_counter() - self._saved
