"""The lines of a journal as a stream, from either end: a long run writes a million of them.

A line that no journal would hold is damaged, and left out: see `parsed` for what one line must be,
and Order for how lines follow on each other.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from gptexp.errors import Problem, StorageError
from gptexp.files import NotRegularError, open_regular
from gptexp.text import plural

POSITION = ("tokens", "epoch", "seconds")  # what a line of metrics.jsonl tells beside its step

LONGEST = 1 << 22  # bytes of a line; one of metrics.jsonl has some hundred

BLOCK = 1 << 16  # bytes that are read at once, where a file is read backwards

NEAR = 1 << 12  # bytes among which a step is looked for line by line

GREATEST = 1e100  # of a curve's values, so that sums of squares are finite

FARTHEST = 1 << 53  # of steps and positions, which a float64 still tells apart

LOOKED_AT = 8  # of the lines at an end, so that one odd line among them decides nothing

FLAGS = ("nan", "inf", "-inf")


@dataclass
class Lines:
    """The lines of a journal in order; each pass reads them anew, one after another.

    A missing file has none. Damaged lines are left out and counted. A pass raises StorageError for
    what cannot be read, or is no file.
    """

    path: Path
    having: bytes = b""  # lines without these bytes are passed over unread
    needs: tuple[str, ...] = ()  # keys without which a line is damaged
    end: int | None = None  # bytes to read; None for as many as there are when a pass begins
    left_out: int = field(default=0, init=False)  # damaged lines of the last pass

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.left_out, needs = 0, {*self.needs}
        with self._opened() as file:
            end = file.seek(0, os.SEEK_END) if self.end is None else self.end
            order = Order(_last_step(file, end))
            for raw in forward(file, end):
                if raw is not None and (self.having not in raw or raw == b"\n"):
                    continue
                line = None if raw is None else parsed(raw)
                if line is not None and line.keys() >= needs and order.follows(line):
                    yield line
                elif raw is None or raw.endswith(b"\n"):  # else it is torn, or being written
                    self.left_out += 1

    def last_step(self) -> int | None:
        """The step at which the curves end, found without a pass; None without any."""
        with self._opened() as file:
            last = _last_step(file, file.seek(0, os.SEEK_END))
        return last if last >= 0 else None

    def newest_first(self) -> Iterator[dict[str, Any]]:
        """The whole lines from the last on, each taken by itself: see Order."""
        with self._opened() as file:
            for _, raw in backward(file, file.seek(0, os.SEEK_END)):
                line = parsed(raw) if raw and self.having in raw else None
                if line is not None and line.keys() >= {*self.needs}:
                    yield line

    def last(self) -> dict[str, Any]:
        """The last whole line, found without a pass; empty without any."""
        return next(self.newest_first(), {})

    def since(self, step: int) -> Iterator[dict[str, Any]]:
        """The whole lines from the first of that step or a later one, found by bisection."""
        with self._opened() as file:
            end = file.seek(0, os.SEEK_END)
            low, high = 0, end  # the first of them lies behind `low`, and not far behind `high`
            while high - low > NEAR:
                middle = (low + high) // 2
                begin, line = _next_whole(file, middle, high)
                if line is None or line["step"] >= step:
                    high = middle
                else:
                    low = begin
            for raw in forward(file, end, low):
                line = parsed(raw) if raw and self.having in raw else None
                if line is not None and line["step"] >= step and line.keys() >= {*self.needs}:
                    yield line

    def damage(self) -> list[str]:
        """What the last pass left out, as a line for a person, if it did."""
        if not self.left_out:
            return []
        return [f"{self.path}: {plural(self.left_out, 'damaged line')} left out"]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with _or_empty(self.path) as file:
                yield file
        except OSError as error:
            fix = "remove it" if isinstance(error, NotRegularError) else "make it readable"
            raise StorageError(Problem(self.path, f"{error.strerror}", fix)) from error


@dataclass
class Order:
    """Where the curves are, so that the next line has its place behind them or is damaged.

    Its step is none before that, none after the last one, and repeats no value.
    """

    last: int  # the step at which the curves end
    step: int = 0
    names: set[str] = field(default_factory=set)  # of the curves with a value at `step`

    def follows(self, line: dict[str, Any]) -> bool:
        """Whether the line has its place, as each without curves has; takes it in."""
        names = {name for name in line if "/" in name}
        if not names:
            return True
        step = line["step"]
        if not self.step <= step <= self.last or (step == self.step and names & self.names):
            return False
        self.names = self.names | names if step == self.step else names
        self.step = step
        return True


def parsed(raw: bytes) -> dict[str, Any] | None:
    """The values of one line; None for a damaged one.

    An object whose step is a whole number, its positions are numbers, its curves numbers or null,
    all of a size that can be drawn and summed up.
    """
    try:
        line = _DECODER.decode(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not is_whole(line.get("step")):
        return None
    flags = line.get("nonfinite", {})
    if not isinstance(flags, dict) or not all(word in FLAGS for word in flags.values()):
        return None
    for name, value in line.items():
        if "/" in name:
            if value is not None and not is_number(value, GREATEST):
                return None
        elif name in POSITION and not is_number(value, FARTHEST):
            return None
    return line


def is_whole(value: Any) -> bool:
    """Whether the value is a whole number as steps are."""
    return type(value) is int and 0 <= value <= FARTHEST


def is_number(value: Any, most: float = GREATEST) -> bool:
    """Whether the value is a number, not NaN, whose size is at most that."""
    return type(value) in (int, float) and -most <= value <= most


def forward(file: IO[bytes], end: int, begin: int = 0) -> Iterator[bytes | None]:
    """The lines in the bytes from `begin` to `end`, with their breaks; None for a too long one."""
    file.seek(begin)
    end -= begin
    while end > 0 and (raw := file.readline(min(LONGEST, end))):
        end -= len(raw)
        too_long = len(raw) == LONGEST and not raw.endswith(b"\n")
        while end > 0 and raw and not raw.endswith(b"\n"):
            raw = file.readline(min(BLOCK, end))
            end -= len(raw)
        yield None if too_long else raw


def backward(file: IO[bytes], end: int) -> Iterator[tuple[int, bytes | None]]:
    """The lines in the first `end` bytes, from the last to the first, each with where it begins.

    They come without their breaks, and None for a too long one; first comes what is behind the last
    break, which may be nothing.
    """
    rest: bytes | None = b""
    while end > 0:
        begin = max(end - BLOCK, 0)
        file.seek(begin)
        first, *lines = file.read(end - begin).split(b"\n")
        for line in reversed(lines):
            end -= len(line)
            yield end, _joined(line, rest)
            end, rest = end - 1, b""
        end, rest = begin, _joined(first, rest)
    yield 0, rest


def _joined(begin: bytes, rest: bytes | None) -> bytes | None:
    return None if rest is None or len(begin) + len(rest) >= LONGEST else begin + rest


def _whole(file: IO[bytes], end: int) -> Iterator[dict[str, Any]]:
    """The whole lines from the last to the first."""
    lines = (parsed(raw) for _, raw in backward(file, end) if raw)
    return (line for line in lines if line is not None)


def _next_whole(file: IO[bytes], begin: int, end: int) -> tuple[int, dict[str, Any] | None]:
    """The first whole line that begins in the bytes after `begin`, and where; None without any."""
    file.seek(begin)
    file.readline()  # the rest of a line that begins before
    while (begin := file.tell()) < end:
        if (line := parsed(file.readline(LONGEST))) is not None:
            return begin, line
    return end, None


def _last_step(file: IO[bytes], end: int) -> int:
    """The step at which the curves end, that of one odd line not counted; -1 without any."""
    lines = (line for line in _whole(file, end) if any("/" in name for name in line))
    steps = [line["step"] for line in islice(lines, LOOKED_AT)]  # from the end
    middle = sorted(steps)[len(steps) // 2] if steps else 0
    return next((step for step in steps if step >= middle), -1)


def _or_empty(path: Path) -> IO[bytes]:
    try:
        return open_regular(path)
    except FileNotFoundError:
        return io.BytesIO()


def _no_number(word: str) -> Any:
    raise ValueError(word)


_DECODER = json.JSONDecoder(parse_constant=_no_number)  # NaN and Infinity are no JSON
