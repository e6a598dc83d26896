"""Small runs in one thread: a synthetic text, a config composed from conf/, and what they leave."""

import copy
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from gptexp import assets, provenance
from gptexp.config import Config, compose

ROOT = Path(__file__).resolve().parents[1]
TIME_FIELDS = ("seconds", "train/tokens_per_second")  # exempt from bitwise equality

# A run of about a tenth of a second: two updates between evaluations, dropout on.
SMALL = [
    "data=text",
    "logger=none",
    "model.n_layer=1",
    "model.n_head=2",
    "model.n_embd=16",
    "model.block_size=8",
    "model.dropout=0.1",
    "schedule.warmup_steps=2",
    "trainer.max_steps=12",
    "trainer.batch_size=4",
    "trainer.eval_interval=4",
    "trainer.log_interval=3",
    "trainer.sample_interval=6",
    "trainer.sample_tokens=8",
    "trainer.device=cpu",
]


SAME: dict[str, Any] = {}  # of provenance, found out once
COMPOSED: dict[tuple[str, ...], Config] = {}  # composing takes a quarter of a second


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would download fails at once instead."""

    real_run = subprocess.run

    def refuse(*_: object, **__: object) -> None:
        raise OSError("tests have no network")

    def run(command: list[str], **options: Any) -> Any:
        return refuse() if "pip" in command else real_run(command, **options)

    monkeypatch.setattr(assets.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(assets.subprocess, "run", run)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """About 2,000 characters of words drawn from a small vocabulary."""
    rng = random.Random(0)
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "whether", "nobler"]
    path = tmp_path / "text.txt"
    path.write_text("".join(rng.choice(words) + rng.choice(" \n") for _ in range(420)))
    return path


@pytest.fixture
def composed() -> Iterator[Callable[..., Config]]:
    """`composed("model=tiny", "optim.lr=1e-2")`: the config that the command line would give."""

    def build(*overrides: str) -> Config:
        if overrides not in COMPOSED:
            COMPOSED[overrides] = compose.typed(hydra_compose("config", overrides=list(overrides)))
        return copy.deepcopy(COMPOSED[overrides])

    compose.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield build


@pytest.fixture
def small(composed: Callable[..., Config], text_file: Path) -> Callable[..., Config]:
    """`small("seed=1")`: the SMALL run on `text_file`, with overrides; later ones win."""

    def build(*overrides: str) -> Config:
        given = {item.partition("=")[0]: item for item in [*SMALL, "data.path=text.txt"]}
        given |= {item.partition("=")[0]: item for item in overrides}
        config = composed(*given.values())
        if config.data.path == "text.txt":
            config.data.path = str(text_file)
        return config

    return build


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fsync, since a killed process leaves what it wrote to the system; the same provenance."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(provenance, "git", dict)
    for name in ("environment", "sources"):
        if name not in SAME:
            SAME[name] = getattr(provenance, name)()
        monkeypatch.setattr(provenance, name, lambda value=SAME[name]: value)


@pytest.fixture
def shakespeare() -> str:
    """The real corpus, where it is cached; a test never downloads it."""
    path = assets.cache_folder() / assets.known("tinyshakespeare").filename
    if not path.exists():
        pytest.skip("Tiny Shakespeare is not in the cache; `python run.py` puts it there")
    return assets.read("tinyshakespeare").decode()


def metrics(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the fields of time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIME_FIELDS} for line in lines]


def samples(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """summary.json without the fields of time."""
    values = json.loads((run / "summary.json").read_text())
    return {k: v for k, v in values.items() if k not in TIME_FIELDS}


def weights(run: Path) -> str:
    """Digest of a finished run's last weights."""
    return summary(run)["final"]["weights_sha256"]


def erase(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
