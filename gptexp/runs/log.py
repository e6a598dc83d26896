"""run.log: what the package said while a run was made, with times."""

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from gptexp.console import BRIEF


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write the package's messages to `path` too, with their times, for as long as this is open."""
    handler = _RunLog(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("gptexp")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def open_log(path: Path) -> TextIOWrapper:
    """Open a run.log to write at its end: no link is followed, and nobody waited for.

    Raises OSError.
    """

    def opener(name: str, flags: int) -> int:
        flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        return os.open(name, flags, 0o666)

    return open(path, "a", encoding="utf-8", errors="backslashreplace", opener=opener)


class _RunLog(logging.FileHandler):
    """A file of messages that a full or broken disk keeps from nothing else: see metrics.jsonl."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be kept: what is brief stands there in full."""
        return record.levelno != BRIEF

    def _open(self) -> TextIOWrapper:
        return open_log(Path(self.baseFilename))

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # it opens the file
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it writes what is left
            super().close()
