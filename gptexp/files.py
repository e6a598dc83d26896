"""Durable writes: a reader sees the old file or the new one, never half of either."""

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import msgspec

from gptexp.errors import DamagedError, Problem, StorageError

MOST_JSON = 64 * 2**20  # bytes of one file; a manifest holds up to a million characters of changes

T = TypeVar("T")


class NotRegularError(OSError):
    """A link, a pipe, a device or a folder in the place of a file."""


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read: none that would be waited for or has no end; raises OSError.

    Links are not followed.
    """
    return cast(BufferedReader, _open_regular(path, os.O_RDONLY, "rb"))


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file, made where there is none, to read and to write at its end; raises OSError.

    As open_regular does, it refuses what is no file.
    """
    return _open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "a+b")


def _open_regular(path: Path, flags: int, mode: str) -> IO[bytes]:
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise NotRegularError(error.errno, "not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegularError(errno.EINVAL, "not a regular file")
    return os.fdopen(handle, mode)


def write_atomic(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Call `write(file)` on a temporary file beside `path`, then put it in the place of `path`.

    The bytes are on the disk before the name changes, and the name before this returns. Raises
    StorageError, leaving what stood at `path`.
    """
    with storage_errors(path):
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` in the place of `path`; raises StorageError."""

    def write(file: IO[bytes]) -> None:
        file.write(data)

    write_atomic(path, write)


def write_text(path: Path, text: str) -> None:
    """Put `text` in the place of `path`, as UTF-8; raises StorageError."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, refusing NaN, which JSON has no word for."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def copy_file(source: Path, target: Path) -> None:
    """Put the content of a regular file in the place of `target`; raises OSError, StorageError."""
    with open_regular(source) as file:
        write_atomic(target, lambda new: shutil.copyfileobj(file, new))


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file that nobody writes in place a second name; a copy where no link can reach.

    Raises OSError, StorageError.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk, or one that has no links
        copy_file(source, target)


@contextmanager
def made_aside(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to fill: it gets that name in the end, or is gone.

    Raises OSError, as where another process was faster.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    leftovers = f".{glob.escape(path.name)}.*.tmp"  # of a process that was killed here
    for leftover in path.parent.glob(leftovers):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes; raises OSError."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most:,} bytes")
        return file.read(most)


def read_json(path: Path, kind: type[T], fix: str) -> T | None:
    """The value in a file, checked to be of `kind`; None when there is no file.

    Raises DamagedError, with that fix.
    """
    try:
        return msgspec.json.decode(read_regular(path, MOST_JSON), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        what, fix = f"cannot be read, {error.strerror}", readable(error, fix)
    except RecursionError:
        what = "damaged: nested too deeply"
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = f"damaged: {str(error).replace('`', '').replace(' - at $.', ' at ')}"
    raise DamagedError(Problem(path, what, fix))


def json_sha256(value: Any) -> str:
    """Hexadecimal digest of a value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal digest of the file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable(error: OSError, otherwise: str) -> str:
    """The fix for a file that was not read: what one may not look at need not be damaged."""
    return "make it readable" if isinstance(error, PermissionError) else otherwise


def at_home(path: str | Path) -> Path:
    """The path, in which a leading `~` is the user's own folder: not every shell says so."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path's own raises for ~nobody


def user_cache() -> Path:
    """The package's folder in the user's cache: what is there can be made again.

    Raises StorageError where there is no such folder to be.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gptexp"
    except RuntimeError as error:  # a user whom the system does not know
        what, fix = "not set, and there is no home folder", "export XDG_CACHE_HOME=FOLDER"
        raise StorageError(Problem("XDG_CACHE_HOME", what, fix)) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can (Windows cannot)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep_temporaries(folder: Path) -> None:
    """Remove what writes that were cut short left behind. The caller holds the folder's lock."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusal into one line, with what is in the way or the space left."""
    try:
        yield
    except OSError as error:
        raise StorageError(refusal(error, path)) from error


def output_folder(path: Path, is_chosen: bool = False) -> Path:
    """The folder that results go to, made where it is not there; raises StorageError.

    A link in its place is refused unless the user has named it: what lies among runs may be
    anybody's, and what is written would go elsewhere.
    """
    if path.is_symlink() and not is_chosen:
        what = f"a link to {path.readlink()}, and what is written here would go there"
        raise StorageError(Problem(path, what, "remove it, or name a folder with --to"))
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def refusal(error: OSError, path: Path) -> Problem:
    """Why the system did not write at `path`."""
    made = path / "_" if isinstance(error, FileExistsError) else path  # a folder was to be
    if (obstacle := in_the_way(made)) is not None:
        return obstacle
    reason = error.strerror or str(error)
    fix = "make the folder writable, or run where it is"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += f"; {_free(path)} free; what was saved before is kept"
        fix = "free some space and run the same command again"
    elif isinstance(error, NotRegularError):
        fix = "remove it"
    elif error.errno in (errno.EISDIR, errno.ELOOP):
        fix = "move it away"
    elif error.errno == errno.ENAMETOOLONG:
        fix = "give it a shorter name"
    return Problem(path, reason, fix)


def in_the_way(path: Path) -> Problem | None:
    """What stands where a folder above `path` is to be, if anything does."""
    for folder in path.parents:
        if not os.path.lexists(folder) or folder.is_dir():
            continue
        what = "a file where a folder is to be"
        if folder.is_symlink():
            what = f"a link to {folder.readlink()}, which is no folder"
        return Problem(folder, what, "move it away, or run in another folder")
    return None


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 1e6:,.0f} MB"
    except OSError:
        return "an unknown amount"
