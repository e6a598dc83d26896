"""The corpus of a run that came from elsewhere, found by its digest."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gptexp import assets
from gptexp.config import DataConfig
from gptexp.config.data import is_file
from gptexp.data.read import corpus_digest, source
from gptexp.errors import DataError, GptexpError, Problem
from gptexp.files import at_home
from gptexp.files import sha256 as digest_of

MOST = 1000  # files that are looked at in a folder


def find_corpus(data: DataConfig, sha256: str, near: Path) -> DataConfig:
    """The section with the corpus that has that digest, wherever it is; raises DataError.

    `near` is the run directory. A relative data.path is tried from here and from the folders above
    the run, then its name in the data folders, then all that those hold, then the known corpora.
    Token files are looked for by their path alone, and each is read whole. The files of a mix are
    tried from here and from the folders above the run, all from one.
    """
    if data.tokens:
        return _find_token_files(data, sha256, near)
    if data.parts:
        return _find_parts(data, sha256, near)
    same = [asset for asset in assets.ASSETS.values() if asset.sha256 == sha256]
    if data.asset is not None:
        if data.asset not in [asset.name for asset in same]:
            what = f"{data.asset} has another SHA-256 here than {sha256[:12]}..."
            raise DataError(Problem("data.asset", what, "use the gptexp that made the run"))
        assets.read(data.asset)  # raises where it is not to be had
        return data
    for path in dict.fromkeys(_candidates(data, near)):
        if _has_digest(path, sha256):
            return replace(data, path=str(path.absolute()))
    for asset in same:
        assets.read(asset.name)
        if _has_digest(path := assets.cache_folder() / asset.filename, sha256):
            return replace(data, path=str(path))
    raise DataError(
        Problem(
            "data.path",
            f"{source(data)} with SHA-256 {sha256[:12]}... is not to be had",
            f"put it into {assets.cache_folder()}",
        )
    )


def _find_token_files(data: DataConfig, sha256: str, near: Path) -> DataConfig:
    """The section with the path of the token files of that digest, from here or above the run."""
    from gptexp.data.shards import find_token_files  # numpy

    own = at_home(str(data.path))
    above = [] if own.is_absolute() else [folder / own for folder in near.resolve().parents]
    problem = None
    for path in (own, *above):
        try:
            section = replace(data, path=str(path.absolute()))
            if find_token_files(section).digest(anew=True) == sha256:
                return section
        except GptexpError as error:
            problem = problem or error.problems[0]
    what = f"token files with SHA-256 {sha256[:12]}... are not to be had"
    what += f" ({problem.told()})" if problem else ", and others are there"
    raise DataError(Problem("data.path", what, f"put them at {own} again"))


def _find_parts(data: DataConfig, sha256: str, near: Path) -> DataConfig:
    """The section with the files of a mix of that digest."""
    for folder in (Path.cwd(), *near.resolve().parents):
        parts = {
            str((folder / at_home(key)).absolute()) if is_file(key) else key: share
            for key, share in data.parts.items()
        }
        with contextlib.suppress(DataError):
            if corpus_digest(section := replace(data, parts=parts)) == sha256:
                return section
    what = f"{source(data)} as they were, SHA-256 {sha256[:12]}..., are not to be had"
    raise DataError(Problem("data.parts", what, "restore the files, and conf/data, of the run"))


def _has_digest(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and digest_of(path) == sha256
    except (OSError, ValueError):  # not readable; a NUL in the name
        return False


def _candidates(data: DataConfig, near: Path) -> Iterator[Path]:
    """Files that may be the corpus, the likeliest first."""
    above = list(near.resolve().parents)
    folders = [Path.cwd(), Path.cwd() / "data", assets.cache_folder(), *above[:4]]
    folders += [folder / "data" for folder in above[:4]]
    own = at_home(str(data.path))
    yield own
    if not own.is_absolute():
        yield from (folder / own for folder in above)
    yield from (folder / own.name for folder in [*folders, at_home("~/Downloads")])
    for folder in (assets.cache_folder(), Path.cwd() / "data"):
        with contextlib.suppress(OSError):  # not there, or not to be looked into
            yield from sorted(folder.iterdir())[:MOST]
