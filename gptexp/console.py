"""What a person sees: plain lines in a log, a progress bar below them on a terminal."""

import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from gptexp.errors import EXIT_OK, GptexpError, Pause, Problem, StorageError
from gptexp.text import printable, short

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger(__name__)

QUIET_SECONDS = 15  # a log without a bar shows a line at least this often

LAST_SECONDS = 3  # in which rank 0 says what ended all ranks

BRIEF = logging.INFO + 1  # the level of `brief`

NOTE = logging.WARNING + 1  # the level of what is neither wrong nor to be missed

# New objects before Python looks for cycles among them. At its 700 it goes through the modules of
# torch again and again as they are imported, and that is a fifth of the import.
GARBAGE = 50_000


@dataclass(frozen=True)
class Lead:
    """One run among several, as the screen tells it from the others: see `led_by`."""

    words: str  # what its lines begin with, as ` 3/12  lr=0.003 s1`
    first: bool = False  # whether it says what holds for all of them
    details: bool = False  # whether the screen shows all that a single run says
    shared: bool = False  # whether other processes write to the same screen
    label: str = ""  # what tells it from the others, as `lr=0.003 s1`

    @property
    def name(self) -> str:
        """These words, without what aligns them."""
        return " ".join(self.words.split())

    def line(self, text: str) -> str:
        """The text behind these words."""
        return f"{self.words}  {text}".rstrip()


_lead: Lead | None = None  # of the run that this process is in
_rank: int | None = None  # of this process, if it is one that rank 0 speaks for
_shown_of_rank = logging.CRITICAL  # the least level of what it shows


def follow(rank: int, local: int) -> None:
    """Leave the screen to rank 0, but for what is `fatal`, unless this is that rank.

    The first one of another machine, which shares neither files nor screen, shows errors too.
    """
    global _rank, _shown_of_rank
    _rank = rank or None
    _shown_of_rank = logging.CRITICAL if local else logging.ERROR


def fatal(text: str, *values: object) -> None:
    """Say what ends this process where rank 0 may not be able to."""
    log.critical(text, *values)


@contextmanager
def led_by(lead: Lead) -> Iterator[None]:
    """Show of the run inside what is `brief`, warnings and errors, each behind the words of `lead`.

    Its details go to run.log as ever, and with `lead.details` to the screen too.
    """
    global _lead
    before, _lead = _lead, lead
    try:
        yield
    finally:
        _lead = before


def brief(text: str, *values: object, once: bool = False) -> None:
    """Say what a sweep shows of a run in place of its details; a single run shows those.

    `once` is for what holds for all runs of a sweep: the first of them says it.
    """
    if _lead is not None and (_lead.first or not once):
        log.log(BRIEF, text, *values)


class _Screen(logging.Handler):
    """INFO to standard output as it is; notes, warnings and errors to standard error, named."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be seen."""
        if _rank is not None:
            return record.levelno >= _shown_of_rank
        in_short = _lead is not None and not _lead.details
        if record.levelno >= logging.WARNING:
            return True
        return in_short if record.levelno == BRIEF else not in_short

    def emit(self, record: logging.LogRecord) -> None:
        text, stream = record.getMessage(), sys.stdout
        if record.levelno >= logging.WARNING:
            whose = "" if _lead is None else f"{_lead.name}: "
            whose = whose if _rank is None else f"rank {_rank}: "
            level = "error" if record.levelno == logging.CRITICAL else record.levelname.lower()
            kind = "" if record.levelno == NOTE else f"{level}: "
            text, stream = f"gptexp: {kind}{whose}{text}", sys.stderr
        elif _lead is not None and (_lead.shared or not _lead.details):
            text = "\n".join(map(_lead.line, text.split("\n")))
        if stream is None:  # as in a program without a console
            return
        # The reader may go away, as `| head` does, or the screen lack a character: the run goes on.
        with contextlib.suppress(OSError, ValueError):
            _write(printable(text), stream)
            stream.flush()


def _write(text: str, stream: IO[str]) -> None:
    """A line, above the bar where there is one: there can be none before tqdm is imported."""
    if "tqdm" in sys.modules:
        _bar().write(text, file=stream)
    else:
        print(text, file=stream)


@cache
def _bar() -> "type[tqdm]":  # type: ignore[type-arg]
    """tqdm with a lock that no other process shares.

    Its own is shared with all forked processes: one that is killed as it writes a line would never
    let it go, and each of the others would wait for ever at its next line.
    """
    from tqdm import tqdm  # not for a run that is over

    class Bar(tqdm):  # type: ignore[type-arg]
        pass

    Bar.set_lock(threading.RLock())
    return Bar


def open_bar(doing: str, total: int, done: int, **options: Any) -> "tqdm":  # type: ignore[type-arg]
    """A bar, to be closed; its words are what it shows, or else those of the run.

    It is not seen where the screen is no terminal, or is shared with others.
    """
    shared = _lead is not None and _lead.shared
    return _bar()(
        desc=doing or (None if _lead is None else _lead.name),
        total=total,
        initial=done,
        disable=shared or _rank is not None or not _on_terminal(),
        leave=False,
        dynamic_ncols=True,
        **options,
    )


def _on_terminal() -> bool:
    """Whether standard error is a terminal; one that is closed or missing is none."""
    with contextlib.suppress(ValueError):
        return sys.stderr is not None and sys.stderr.isatty()
    return False


def program(main: Callable[[], int]) -> NoReturn:
    """Call `main` and exit with its code, whatever becomes of the streams it writes to.

    What went to a stream that was closed is gone, a character that an encoding lacks is escaped,
    and a reader that had enough, as `| head` has, is no error.
    """
    _open_streams()
    setup()
    gc.set_threshold(GARBAGE)
    code = EXIT_OK
    try:
        code = main() if (gone := _gone()) is None else fail(gone)
    except BrokenPipeError:
        pass
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                with contextlib.suppress(OSError, ValueError):  # or Python would tell at its end
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _gone() -> GptexpError | None:
    """What is wrong where the current folder was removed: torch would end the process."""
    try:
        Path.cwd()
    except OSError as error:
        what = f"not there any more ({error.strerror})"
        return StorageError(Problem("the current folder", what, "cd to one that is"))
    return None


def show(text: str, end: str = "\n") -> None:
    """Print what a command was asked for; what it holds may come from anybody's files."""
    print(printable(text), end=end, flush=True)


def fail(error: GptexpError) -> int:
    """Show the problems of what ended a program; returns its exit code.

    Another rank lets rank 0 do so first: torchrun ends all as soon as one has failed.
    """
    show_problems(error)
    if _rank is not None:
        time.sleep(LAST_SECONDS)
    return error.exit_code


def show_problems(error: GptexpError) -> None:
    """Show the problems, one line each; an end that somebody asked for is no error."""
    for problem in error.problems:
        log.log(NOTE if isinstance(problem, Pause) else logging.ERROR, "%s", problem)


def _open_streams() -> None:
    """Have all three streams: a file of a run would otherwise take the number of a closed one."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            instead = open(os.devnull, "r" if name == "stdin" else "w")  # noqa: PTH123, SIM115
            os.set_inheritable(instead.fileno(), True)
            setattr(sys, name, instead)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's cannot, and need not
            stream.reconfigure(errors="backslashreplace")


def setup() -> None:
    """Show the package's messages on the screen; once in a process is enough."""
    logger = logging.getLogger("gptexp")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Screen) for handler in logger.handlers):
        logger.addHandler(_Screen())


@contextmanager
def shown(quiet: bool = False) -> Iterator[None]:
    """Show the package's messages for as long as this is open; `quiet` leaves it as it was."""
    logger = logging.getLogger("gptexp")
    before = list(logger.handlers), logger.level, logger.propagate
    if not quiet:
        setup()
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate = before


@contextmanager
def counting(doing: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar over so many bytes, of which some are done; what it gives is told how many more are.

    Without a terminal, a line now and then.
    """
    bar = open_bar(doing, total, done, unit="B", unit_scale=True)
    shown = time.monotonic()

    def count(more: int) -> None:
        nonlocal done, shown
        done += more
        bar.update(more)
        if bar.disable and time.monotonic() - shown > QUIET_SECONDS:
            log.info("%-7s %s of %s bytes", doing, short(done), short(total))
            shown = time.monotonic()

    with bar:
        yield count
