"""Small runs in one thread: a synthetic text, a config composed from conf/, and what they leave."""

import copy
import json
import logging
import os

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start

import random
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import Fake
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from wandb_runs import harmless

from gptexp import assets, provenance, runtime
from gptexp.config import Config, compose

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
# The options of each group, so that a new file is tested by itself.
CHOICES = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "sweeps"
}
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


# A problem, without the prefix that the screen puts before it.
ONE_LINE = re.compile(r"(?P<key>.+?): (?P<what>.+[^.])[.?] Fix: (?P<fix>.+)")
SAME: dict[str, Any] = {}  # of provenance, found out once
COMPOSED: dict[tuple[str, ...], Config] = {}  # by overrides
CHOSEN: dict[tuple[str, ...], DictConfig] = {}  # by choices; composing takes a tenth of a second


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Whatever a command sets up on the package's logger ends with its test."""
    logger = logging.getLogger("gptexp")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield
    logger.level, logger.propagate, logger.handlers = before


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


@pytest.fixture(scope="session")
def wandb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("of-wandb")


@pytest.fixture(autouse=True)
def _no_wandb(wandb_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B finds no key, no settings and no server, whatever this machine has."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in harmless(wandb_folder).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def wandb_service() -> Iterator[None]:
    """W&B's process, which belongs to this one, is ended with the test."""
    yield
    import wandb

    wandb.teardown()


@pytest.fixture
def fakes() -> Iterator[Callable[..., Fake]]:
    """`fakes(...)`: a Fake that is let go when the test is over."""
    made: list[Fake] = []

    def make(*arguments: Any) -> Fake:
        made.append(Fake(*arguments))
        return made[-1]

    yield make
    for fake in made:
        fake.released.set()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said with level WARNING, and was one line each."""
    caplog.set_level(logging.INFO, "gptexp")

    def said() -> list[str]:
        found = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert not any("\n" in line for line in found)
        return found

    return said


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
            COMPOSED[overrides] = compose.typed(_composition(overrides))
        return copy.deepcopy(COMPOSED[overrides])

    compose.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield build


def _composition(overrides: tuple[str, ...]) -> DictConfig:
    """As Hydra composes them; choices once, and values set on a copy, which takes it a tenth."""
    keys = [word.partition("=")[0] for word in overrides]
    if any(key.startswith(("+", "~")) for key in keys):
        return hydra_compose("config", overrides=list(overrides))
    groups = {*CHOICES, "sweeps"}
    choices = tuple(word for word, key in zip(overrides, keys, strict=True) if key in groups)
    if choices not in CHOSEN:
        CHOSEN[choices] = hydra_compose("config", overrides=list(choices))
    cfg = copy.deepcopy(CHOSEN[choices])
    values = [word for word, key in zip(overrides, keys, strict=True) if key not in groups]
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return cfg


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
    if not SAME:
        cpu = runtime.Runtime(torch.device("cpu"), torch.float32)
        SAME.update(environment=provenance.environment(cpu), sources=provenance.sources())
    monkeypatch.setattr(provenance, "environment", lambda where: SAME["environment"])
    monkeypatch.setattr(provenance, "sources", lambda: SAME["sources"])


class Result:
    """What a command left: exit code, output, and the errors without their prefix."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def errors(self) -> list[str]:
        """The lines of standard error, each of which must be one well-formed problem."""
        prefix = "gptexp: error: "
        lines = self.err.splitlines()
        assert all(line.startswith(prefix) for line in lines), self.err
        return [line.removeprefix(prefix) for line in lines]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """`command("model.n_embdd=3")`: `python run.py ...` in an empty folder, in this process."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def call(*arguments: str) -> Result:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py"), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        shown = capsys.readouterr()
        return Result(int(ended.value.code or 0), shown.out, shown.err)

    yield call
    GlobalHydra.instance().clear()


@pytest.fixture
def refused(command: Callable[..., Result]) -> Callable[..., list[str]]:
    """`refused("seed=1", "seed=2")`: the problems that the command shows; it creates nothing."""

    def call(*arguments: str) -> list[str]:
        result = command(*arguments)
        assert result.code == 2, result.err
        assert result.errors
        for line in result.errors:
            assert ONE_LINE.fullmatch(line), line
        assert not list(Path().rglob("outputs/*"))
        return result.errors

    return call


@pytest.fixture
def shakespeare() -> str:
    """The real corpus, where it is cached; a test never downloads it."""
    return cached("tinyshakespeare", "python run.py")


@pytest.fixture
def names() -> str:
    """The real names, where they are cached."""
    return cached("names", "python run.py data=names")


def cached(asset: str, command: str) -> str:
    """The text of an asset, or the test is skipped."""
    if not (assets.cache_folder() / assets.known(asset).filename).exists():
        pytest.skip(f"{asset} is not in the cache; `{command}` puts it there")
    return assets.read(asset).decode()


def metrics(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the fields of time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIME_FIELDS} for line in lines]


def samples(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """summary.json without the fields of time, and with the config's hash for the config.

    Equal runs may differ in where their text lies, and in keys that are not hashed.
    """
    values = json.loads((run / "summary.json").read_text())
    return {k: v for k, v in values.items() if k not in (*TIME_FIELDS, "config")}


def weights(run: Path) -> str:
    """Digest of a finished run's last weights."""
    return summary(run)["final"]["weights_sha256"]


def erase(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def put(config: Config, key: str, value: Any) -> Config:
    """Set one key of the typed config, as `key=value` on the command line would."""
    *sections, field = key.split(".")
    setattr(getattr(config, sections[0]) if sections else config, field, value)
    return config


def only(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    return lines[0]
