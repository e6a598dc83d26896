"""F1: W&B without a key, or with a server that is away, slow or unwilling, is W&B offline."""

import logging
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from interruptions import Small
from small_runs import ROOT, SMALL
from wandb_runs import CLOSED, KEY, offline_folders, server, silent_server

from gptexp.experiment.run import run_experiment
from gptexp.tracking import background, pictures

pytestmark = pytest.mark.usefixtures("quick", "wandb_service")

urlopen = urllib.request.urlopen  # the real one: these tests have servers of their own


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`local(url)`: W&B's server is there, and nothing else can be reached."""

    def choose(url: str) -> None:
        assert url.startswith("http://127.0.0.1:")
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)

    monkeypatch.setattr(pictures, "draw", lambda seen: {})
    return choose


@pytest.mark.parametrize(
    ("where", "key", "why"),
    [
        (lambda: server(200, b"{}"), None, "no API key (`wandb login` stores one)"),
        (lambda: nullcontext(CLOSED), KEY, "does not answer"),
        (silent_server, KEY, "does not answer"),
        (lambda: server(401, b'{"errors": [{"message": "who are you"}]}'), KEY, ""),
        (lambda: server(200, b"{}"), KEY, ""),
        (lambda: server(200, b"hello"), KEY, ""),
        (lambda: server(502, b"Bad Gateway"), KEY, "answers 502"),
    ],
    ids=["no key", "unreachable", "slow", "401", "empty answer", "not W&B", "502"],
)
def test_F1_wandb_is_offline_with_one_line_that_says_why(
    small: Small,
    tmp_path: Path,
    local: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: Any,
    key: str | None,
    why: str,
) -> None:
    from gptexp.tracking import wandb

    monkeypatch.setattr(wandb, "PROBE", 0.3)
    monkeypatch.setattr(wandb, "INIT", 1.0)
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    caplog.set_level(logging.INFO, "gptexp")
    began = time.monotonic()
    with where() as url:
        local(url)
        outcome = run_experiment(small("logger=wandb"), tmp_path / "outputs")
    assert time.monotonic() - began < background.FINISH
    assert outcome.state == "done"
    said = [record.getMessage() for record in caplog.records]
    [line] = [text for text in said if text.startswith("W&B")]
    assert "\n" not in line
    assert line.startswith("W&B     offline: ") and why in line
    [folder] = offline_folders(outcome.path)
    folders = line.rpartition("; later: wandb sync ")[2]
    assert fnmatch(str(folder), folders)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_F1_the_mode_that_the_environment_wants_is_respected(
    small: Small,
    tmp_path: Path,
    local: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mode: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nobody need be asked")

    local(CLOSED)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", mode)
    caplog.set_level(logging.INFO, "gptexp")
    outcome = run_experiment(small("logger=wandb"), tmp_path / "outputs")
    assert outcome.state == "done"
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("W&B")]
    assert len(offline_folders(outcome.path)) == (mode == "offline")
    if mode == "offline":
        assert "offline: WANDB_MODE says so; later: wandb sync " in lines[0] and len(lines) == 1
    else:
        assert lines == []


@pytest.mark.slow
def test_F1_the_command_neither_asks_nor_waits(small: Small, tmp_path: Path) -> None:
    """With standard input closed, no key, and a server that is away."""
    overrides = [item for item in SMALL if item != "logger=none"]
    text = small().data.path
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, ROOT / "run.py", *overrides, "logger=wandb", f"data.path={text}"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("W&B     offline: ") == 1
    assert time.monotonic() - began < 40, "a few seconds, and some more for a busy machine"
    assert not list(tmp_path.glob("wandb")), "W&B writes in the run directory alone"
