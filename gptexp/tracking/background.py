"""A dashboard on a thread of its own, so that nothing it does can stop or slow the training."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from gptexp.tracking.dashboard import Dashboard

log = logging.getLogger(__name__)

# Calls whose loss a person would notice.
CONTENT = ("scalars", "sample", "probe", "histograms", "final")

CAPACITY = 10_000  # calls that may wait; a dashboard that is further behind is lost

PATIENCE = 60.0  # seconds that one call may take

OPENING = 10  # times as long may opening take: after a resume, a long history is written anew

FINISH = 20.0  # seconds that all dashboards together have to finish when the run ends


class Background:
    """Passes calls on to a dashboard. The caller neither waits nor fails.

    A dashboard that raises, or hangs, or falls too far behind is switched off with one warning;
    what it misses from then on is counted.
    """

    def __init__(self, name: str, opener: Callable[[], Dashboard]) -> None:
        self.name = name
        self.lost = 0  # calls with content that did not reach the dashboard
        self.off = False
        self.busy_since: float | None = None  # a moment, while the dashboard opens or is in a call
        self._exit_code = 1  # what a dashboard that is given up is closed with
        self._doing = "open"  # the method of the call that has not come back
        self._calls: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue(CAPACITY)
        self._thread = threading.Thread(target=self._work, args=[opener], name=name, daemon=True)

    def tell(self, method: str, *arguments: Any) -> None:
        """Have the dashboard's `method` called with `arguments`, some time."""
        if method == "close":
            [self._exit_code] = arguments
        since = self.busy_since
        patience = PATIENCE * (OPENING if self._doing == "open" else 1)
        if since is not None and time.monotonic() - since > patience:
            self._switch_off(f"has not answered for {patience:g} seconds")
        if not self.off:
            try:
                self._calls.put_nowait((method, arguments))
                if self._thread.ident is None:  # not before: its imports would delay the first step
                    self._thread.start()
                return
            except queue.Full:
                self._switch_off(f"is {CAPACITY:,} calls behind")
            except RuntimeError as error:  # the system has no more threads
                self._switch_off(f"failed: {error}")
        self.lost += method in CONTENT

    def finished(self, deadline: float) -> None:
        """Wait for the dashboard to close, until `deadline` on the monotonic clock."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._switch_off("did not finish in time")
        missed = [self._doing, *(method for method, _ in list(self._calls.queue))]
        if lost := self.lost + sum(method in CONTENT for method in missed):
            entries = "entry" if lost == 1 else f"{lost} entries"
            log.info("%s lacks the last %s; see `gptexp export`", self.name, entries)

    def _work(self, opener: Callable[[], Dashboard]) -> None:
        dashboard, method, self.busy_since = None, "open", time.monotonic()
        try:
            dashboard = opener()
            self.busy_since, self._doing = None, ""
            while method != "close" and not self.off:
                self.busy_since = None
                method, arguments = self._calls.get()
                self._doing, self.busy_since = method, time.monotonic()
                getattr(dashboard, method)(*arguments)
                self._doing = ""
        except BaseException as error:  # whatever a dashboard does must not end the run
            self._switch_off(f"failed: {type(error).__name__}: {error}")
        if dashboard is not None and method != "close":
            with contextlib.suppress(BaseException):
                dashboard.close(self._exit_code)

    def _switch_off(self, why: str) -> None:
        if not self.off:
            self.off = True
            first_line = why.partition("\n")[0]
            log.warning("%s %s; it is switched off, and the run goes on", self.name, first_line)
