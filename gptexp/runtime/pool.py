"""Work shared among processes, whose results come in the order of the work."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

from gptexp.errors import Problem, StorageError

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2  # items for each process that are begun before their turn: what waits is in memory

_work: Callable[[Any], Any]  # of a process of the pool


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    make: Callable[..., Callable[[T], R]], args: tuple[Any, ...], items: Iterable[T], workers: int
) -> Iterator[R]:
    """The result of each item, in their order, by so many processes; with one, by this one.

    Each process calls `make(*args)` once, and what that returns with every item that it gets. What
    is raised there is raised here. Raises StorageError where a process was killed.
    """
    if workers == 1:
        yield from map(make(*args), items)
        return
    resource_tracker.ensure_running()  # which would set the mask of signals anew later
    context = multiprocessing.get_context("spawn")  # a copy would share locks that others hold
    with ProcessPoolExecutor(workers, context, _begin, (make, args)) as pool:
        try:
            waiting: deque[Any] = deque()
            for item in items:
                with _ctrl_c_blocked():  # in a process that is started here too, for good
                    waiting.append(pool.submit(_do, item))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            what, fix = "a process of it was killed, perhaps for memory", "ask for fewer --workers"
            raise StorageError(Problem("the pool", what, fix)) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Let Ctrl-C wait: a process has the mask of the one that started it.

    So the parent alone hears it, from the first moment of a process on.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(make: Callable[..., Callable[[Any], Any]], args: tuple[Any, ...]) -> None:
    """Be a process of the pool, which ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _work
    _work = make(*args)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(item: Any) -> Any:
    return _work(item)
