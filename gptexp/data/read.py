"""The bytes of a corpus, read and checked, as text."""

import codecs
import hashlib
import re
from typing import Any

from gptexp import assets
from gptexp.config import DataConfig
from gptexp.data.parts import parts_of
from gptexp.errors import DataError, Problem
from gptexp.files import at_home, json_sha256
from gptexp.text import listed

MARKS = {  # at the start of a text, the longer ones first
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32"),
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"),
}

BOUNDARY = "\n"  # before, between and after documents

MOST_CHAT = 2**28  # bytes of conversations, which take some times that as they are parsed

_DIGESTS: dict[tuple[Any, ...], str] = {}  # by path and state of the file


def corpus_digest(data: DataConfig) -> str:
    """SHA-256 of the corpus file, in hexadecimal: for an asset without reading it.

    A sweep asks for each of its points, so a file that is as it was is not read again. Of token
    files it is over those of all, of a mix over those of its parts, and how each is cut.
    """
    if data.tokens:
        from gptexp.data.shards import find_token_files  # numpy

        return find_token_files(data).digest()
    if data.parts:
        return json_sha256(
            [
                [label, corpus_digest(part), part.val_fraction, part.shuffle]
                for label, part in parts_of(data).items()
            ]
        )
    if data.asset is not None:
        return assets.known(data.asset).sha256
    try:
        stat = at_home(data.path or "").stat()
    except (OSError, ValueError):
        return hashlib.sha256(_read_bytes(data)).hexdigest()  # raises what is wrong
    state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if (data.path, state) not in _DIGESTS:
        _DIGESTS[data.path, state] = hashlib.sha256(_read_bytes(data)).hexdigest()
    return _DIGESTS[data.path, state]


def source(data: DataConfig) -> str:
    """The file or the asset, as the user names it; of a mix, those of all parts."""
    return listed(list(data.parts)) if data.parts else str(data.path or data.asset)


def read_text(data: DataConfig, sha256: str | None = None) -> str:
    """The text of the corpus, which has the digest `sha256` where one is given; raises DataError.

    One rule on every system: a byte order mark at the start is dropped, and CRLF and CR become LF.
    """
    raw = _read_bytes(data)
    named = source(data)
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise DataError(Problem(named, "changed while the run was starting", "start it again"))
    fix = "save it as UTF-8 text"
    for mark, encoding in MARKS.items():
        if raw.startswith(mark):
            raise DataError(Problem(named, f"{encoding}, by the mark at offset 0, line 1", fix))
    nul = raw.find(b"\0")
    try:
        text = raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if nul < 0 or error.start < nul:
            bad = f"byte 0x{raw[error.start]:02x} at {_position(raw, error.start)}"
            raise DataError(Problem(named, f"not UTF-8: {bad}", fix)) from error
    if nul >= 0:
        what = f"not text: a NUL byte at {_position(raw, nul)}"
        raise DataError(Problem(named, what, fix))
    text = with_line_feeds(text)
    if not text.strip():
        raise DataError(
            Problem(named, f"holds no text, {len(raw)} bytes of nothing", "give a text")
        )
    return text


def with_line_feeds(text: str) -> str:
    """The text with the line ends of every system as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_bytes(data: DataConfig) -> bytes:
    if not data.has_text:
        what, fix = "the model was imported without a text", "data=text data.path=FILE"
        raise DataError(Problem("data", what, fix))
    if data.asset is not None:
        return assets.read(data.asset)
    path = at_home(data.path or "")
    try:
        if path.is_dir():
            problem = "a folder, not a file"
        elif path.exists() and not path.is_file():
            problem = "not a regular file"
        elif data.chat and (size := path.stat().st_size) > MOST_CHAT:
            problem = f"{size:,} bytes of conversations, and at most {MOST_CHAT:,} are read"
        else:
            return path.read_bytes()
    except FileNotFoundError:
        problem = "not there"
    except OSError as error:
        problem = f"not readable, {error.strerror}"
    except ValueError as error:  # a NUL in the name
        problem = f"not readable, {error}"
    shown = str(path).encode("unicode_escape").decode()  # one line, whatever the name
    raise DataError(
        Problem("data.path", f"{shown} is {problem}", "data.path=FILE, a readable UTF-8 text")
    )


def _position(raw: bytes, offset: int) -> str:
    line = len(re.findall(rb"\r\n|\r|\n", raw[:offset])) + 1
    return f"offset {offset}, line {line}"
