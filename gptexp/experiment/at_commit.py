"""A run judged by the code of its own commit, in a git worktree that is removed afterwards."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptexp.errors import Problem, ReproduceError
from gptexp.runs.provenance import PACKAGE

VERB = Path("gptexp/experiment/reproduce.py")  # which the commit must have


def reproduce_at_commit(manifest: dict[str, Any], words: list[str]) -> int:
    """Do `gptexp reproduce WORDS` with the code of the manifest's commit; returns its exit code.

    Raises ReproduceError where the checkout does not have it, or it was not all of the code.
    """
    commit = check_commit(manifest)
    with worktree(commit) as folder:
        if not (folder / VERB).exists():
            what = f"commit {commit[:12]} is of before `gptexp reproduce`"
            raise ReproduceError(Problem("--at-commit", what, "leave --at-commit out"))
        command = [sys.executable, "-P", "-m", "gptexp.cli", "reproduce", *words]
        process = subprocess.Popen(command, env=code_from(folder))
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # it tidies up
            process.wait()
            raise


def check_commit(manifest: dict[str, Any]) -> str:
    """The commit of a run, which this checkout has; raises ReproduceError."""
    git = manifest.get("git")
    git = git if isinstance(git, dict) else {}
    commit = git.get("commit")
    if not isinstance(commit, str) or re.fullmatch(r"[0-9a-f]{40}", commit) is None:
        what, fix = "the manifest names no commit", "leave --at-commit out"
        raise ReproduceError(Problem("--at-commit", what, fix))
    if changed := git.get("changed"):
        lines = changed if isinstance(changed, list) else [changed]
        files = ", ".join(str(line).rpartition(" ")[2] for line in lines[:5])
        what = f"uncommitted changes were part of the run: {files}"
        raise ReproduceError(Problem("--at-commit", what, "apply them by hand, without it"))
    if _git("cat-file", "-t", commit).stdout.strip() != "commit":
        what = f"{PACKAGE.parent} is no checkout that has commit {commit[:12]}"
        raise ReproduceError(Problem("--at-commit", what, "git fetch, in a clone of gptexp"))
    return commit


def code_from(folder: Path) -> dict[str, str]:
    """The environment of a process whose gptexp is that of `folder`, and own code as here."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A temporary worktree of the commit, gone in the end; raises ReproduceError."""
    with tempfile.TemporaryDirectory(prefix="gptexp-commit-") as parent:
        folder = Path(parent) / commit
        # The checkout's own hooks have no part in this.
        add = ("-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--quiet", "--detach")
        try:
            added = _git(*add, str(folder), commit)
            if added.returncode != 0:
                reason = (added.stderr.strip().splitlines() or ["git failed"])[-1]
                raise ReproduceError(Problem("--at-commit", reason, "make the checkout writable"))
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A git command in the checkout; one that is not there fails like one that went wrong."""
    command = ["git", "-C", str(PACKAGE.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
