"""Files that are tokenized, of any size: each is cut into pieces, and a piece is read by itself.

Where a file is cut depends on its content alone, so the tokens do not depend on who reads what.
"""

import os
import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import msgspec

from gptexp.data import parquet
from gptexp.data.read import with_line_feeds
from gptexp.errors import DataError, Problem
from gptexp.files import at_home, open_regular, readable
from gptexp.text import shortened

PIECE = 2**20  # bytes, about: a second of work at most

WINDOW = 2**16  # bytes that are looked through at once
UNBROKEN = 2**24  # bytes without any place to cut after which a text is cut between characters
LONGEST = 4  # bytes of a character
MOST_LINE = 2**28  # bytes of a line of JSON, which takes some times that as it is read

SPACE = re.compile(rb"[ \n]")
LINES = re.compile(r"\.(jsonl|ndjson)", re.IGNORECASE)

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Piece:
    """A part of one file, [begin, end) in its own units."""

    source: "SourceFile"
    begin: int
    end: int
    split: Split

    @property
    def bytes(self) -> int:
        """Its share of the file."""
        return round((self.end - self.begin) / self.source.size * self.source.length)

    def documents(self) -> Iterator[tuple[str, bool]]:
        """Its texts in their order, each with whether a document ends with it; raises DataError."""
        yield from self.source.read(self.begin, self.end)


@dataclass(frozen=True)
class SourceFile(ABC):
    """One file, in units of its kind."""

    path: Path
    field: str  # of a line or row that holds the text
    length: int  # bytes
    modified: int  # nanoseconds, as the file system has it
    size: int  # units in all
    step: int  # units of a piece, at least
    has_documents = True  # many in a file

    @abstractmethod
    def cut(self, at: int) -> int:
        """The first place at or after a place, where the file may be cut; its size at the end."""

    @abstractmethod
    def read(self, begin: int, end: int) -> Iterator[tuple[str, bool]]:
        """What Piece.documents says."""

    def split_at(self, at: int) -> int:
        """As `cut`, between the part for training and that for validation."""
        return self.cut(at)

    def pieces(self, begin: int, end: int, split: Split) -> Iterator[Piece]:
        """The pieces of [begin, end)."""
        while begin < end:
            until = min(self.cut(begin + self.step), end) if begin + self.step < end else end
            yield Piece(self, begin, until, split)
            begin = until

    def opened(self) -> BufferedReader:
        """The file, as it was when the work began; raises DataError."""
        file = _open(self.path)
        state = os.fstat(file.fileno())
        if (state.st_size, state.st_mtime_ns) != (self.length, self.modified):
            file.close()
            what = "changed while it was read"
            raise DataError(Problem(self.path, what, "start again when it is as it is to be"))
        return file

    def range(self, begin: int, end: int) -> bytes:
        """So many bytes of the file."""
        with self.opened() as file:
            file.seek(begin)
            return file.read(end - begin)

    def after_line(self, at: int) -> int:
        """The first place at or after a place, where a line begins; the end where none does."""
        with self.opened() as file:
            file.seek(max(at - 1, 0))
            while at and (part := file.readline(WINDOW)) and not part.endswith(b"\n"):
                pass
            return file.tell() if at else 0

    def line(self, offset: int) -> int:
        """The number of the line that holds a byte."""
        with self.opened() as file:
            whole, rest = divmod(offset, WINDOW)
            parts = [*(WINDOW for _ in range(whole)), rest]
            return 1 + sum(file.read(part).count(b"\n") for part in parts)

    def refusal(self, line: int, what: str, fix: str) -> DataError:
        """What is wrong in a line."""
        return DataError(Problem(f"{self.path}:{line}", what, fix))


class TextFile(SourceFile):
    """UTF-8, a document in all. Units are bytes."""

    has_documents = False

    def cut(self, at: int) -> int:
        """Before a space or line break behind something else: no word of byte pairs spans that.

        A text that has none for long is cut between any two characters.
        """
        begin = at
        with self.opened() as file:
            while at < min(self.size, begin + UNBROKEN):
                start = max(at - LONGEST, 0)
                file.seek(start)
                window = file.read(at - start + WINDOW)
                for space in SPACE.finditer(window, at - start):
                    before = window[max(space.start() - LONGEST, 0) : space.start()]
                    if not before.decode(errors="ignore")[-1:].isspace():
                        return start + space.start()
                at += WINDOW
            if at >= self.size:
                return self.size
            file.seek(at)
            ahead = file.read(LONGEST + 1)
        inside = (byte & 0xC0 == 0x80 or byte == 0x0A for byte in ahead)
        return at + next((n for n, is_inside in enumerate(inside) if not is_inside), 0)

    def split_at(self, at: int) -> int:
        """At the beginning of a line, where there is one."""
        line = self.after_line(at)
        return line if line < self.size else self.cut(at)

    def read(self, begin: int, end: int) -> Iterator[tuple[str, bool]]:
        raw, fix = self.range(begin, end), "save it as UTF-8 text"
        nul = raw.find(b"\0")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            if not 0 <= nul < error.start:
                at = begin + error.start
                what = f"not UTF-8: byte 0x{raw[error.start]:02x} at offset {at}"
                raise self.refusal(self.line(at), what, fix) from error
        if nul >= 0:
            at = begin + nul
            raise self.refusal(self.line(at), f"not text: a NUL byte at offset {at}", fix)
        text = with_line_feeds(text.removeprefix("\ufeff") if begin == 0 else text)
        yield text, end == self.size


class JsonLines(SourceFile):
    """A JSON object in each line, a document in each. Units are bytes."""

    def cut(self, at: int) -> int:
        return self.after_line(at)

    def read(self, begin: int, end: int) -> Iterator[tuple[str, bool]]:
        # All other fields are skipped, and not built.
        fields = [("text", str, msgspec.field(name=self.field))]
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.defstruct("Row", fields))
        if end - begin > self.step + MOST_LINE:  # the last line alone reaches over the step
            what, fix = f"more than {MOST_LINE:,} bytes in a line", "one document a line"
            raise self.refusal(self.line(end - 1), what, fix)
        raw = self.range(begin, end)
        raw = raw.removeprefix(b"\xef\xbb\xbf") if begin == 0 else raw
        for number, line in enumerate(raw.split(b"\n")):
            if not line.strip():
                continue
            try:
                yield decoder.decode(line).text, True
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise self._refused(line, self.line(begin) + number, error) from error

    def _refused(self, line: bytes, number: int, error: Exception) -> DataError:
        fix = "correct the line, or leave it out"
        if isinstance(error, RecursionError):
            return self.refusal(number, "nested too deeply", fix)
        if not isinstance(error, msgspec.ValidationError):
            return self.refusal(number, f"not JSON: {error}", fix)
        try:
            value = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
            return self.refusal(number, f"not JSON: {wrong}", fix)
        if not isinstance(value, dict):
            return self.refusal(number, "no JSON object", fix)
        if self.field in value:
            what = f"{self.field} is {shortened(str(value[self.field]))}, and no text"
            return self.refusal(number, what, "name another --field, or correct the line")
        return self.refusal(number, *parquet.lacking(self.field, [n for n in value if n]))


class ParquetFile(SourceFile):
    """A table, a document in each row. Units are rows."""

    def cut(self, at: int) -> int:
        """Where a group of rows begins, as one is read at once."""
        bounds = _groups(self).bounds
        return bounds[bisect_left(bounds, at)]

    def split_at(self, at: int) -> int:
        return at

    def read(self, begin: int, end: int) -> Iterator[tuple[str, bool]]:
        with self.opened() as file:
            for text in parquet.texts(file, self.path, self.field, _groups(self), begin, end):
                yield text, True


@lru_cache(maxsize=1)  # the pieces of a file come one after another
def _groups(source: ParquetFile) -> parquet.Groups:
    with source.opened() as file:
        return parquet.read_groups(file, source.path)


def open_source(name: str, field: str) -> SourceFile:
    """The file of that name, by the end of it; raises DataError for what cannot be tokenized."""
    path = at_home(name)
    with _open(path) as file:
        state = os.fstat(file.fileno())
        if not state.st_size:
            raise DataError(Problem(path, "empty", "give a file with text, or leave it out"))
        common = (path, field, state.st_size, state.st_mtime_ns)
        if path.suffix.lower() == ".parquet":
            return ParquetFile(*common, parquet.rows(file, path, field), 1)
    kind = JsonLines if LINES.fullmatch(path.suffix) else TextFile
    return kind(*common, state.st_size, PIECE)


def cut_into_pieces(sources: Sequence[SourceFile], val_fraction: float) -> list[Piece]:
    """All pieces in their order: those for training, then the last `val_fraction` of the bytes.

    Raises DataError where one of the two parts would have none.
    """
    at = sum(source.length for source in sources) * (1 - val_fraction)
    train: list[Piece] = []
    val: list[Piece] = []
    for source in sources:
        place = min(max(at / source.length, 0), 1)
        cut = source.size if place == 1 else source.split_at(round(place * source.size))
        train += source.pieces(0, cut, "train")
        val += source.pieces(cut, source.size, "val")
        at -= source.length
    if not train or (val_fraction and not val):
        what = f"{val_fraction:g} leaves no document for {'validation' if train else 'training'}"
        fix = "another fraction, 0 for no validation, or more documents"
        raise DataError(Problem("--val-fraction", what, fix))
    return train + val


def _open(path: Path) -> BufferedReader:
    """A file that a user named, behind a link too; raises DataError."""
    if path.is_dir():
        raise DataError(Problem(path, "a folder, not a file", f"name its files, as {path}/*.txt"))
    if str(path) == "-":
        raise DataError(Problem(path, "standard input is not read", "save it to a file first"))
    try:
        return open_regular(Path(os.path.realpath(path)))
    except FileNotFoundError as error:
        raise DataError(Problem(path, "not there", "name a file that is")) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = "save what it gives to a file"
        fix = readable(error, fix) if isinstance(error, OSError) else fix
        raise DataError(Problem(path, f"cannot be read, {reason}", fix)) from error
