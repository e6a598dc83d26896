"""Small runs in one thread: a synthetic text, a config composed from conf/, and what they leave."""

import copy
import functools
import gc
import logging
import os

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start

import random
import runpy
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import remembered_hydra
import torch
from fake_dashboards import Fake
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from small_runs import CHOICES, CONF, ONE_LINE, ROOT, SMALL, Result, cached
from wandb_runs import harmless

from gptexp import assets
from gptexp.cli.app import main
from gptexp.config import Config, compose, to_dict
from gptexp.config.words import as_typed
from gptexp.experiment.run import run_experiment
from gptexp.runs import directory, provenance
from gptexp.runtime import rate
from gptexp.runtime.device import Runtime
from gptexp.training import compiling, throughput

gc.set_threshold(100_000)  # whatever all imports left is looked through each time: a fifth of all

ENVIRONMENT: dict[str, Any] = {}  # of provenance, found out once
COMPOSED: dict[tuple[str, ...], Config] = {}  # by overrides
TRAINED: dict[tuple[str, bytes], Path] = {}  # the runs of `once`, by config and text
CHOSEN: dict[tuple[str, ...], DictConfig] = {}  # by choices; composing takes a tenth of a second


@pytest.fixture(scope="session", autouse=True)
def _signals_as_a_terminal_sends_them() -> None:
    """Whoever starts the tests in the background, as nohup does, has some of them ignored."""
    for number, handler in [
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ]:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Hydra reads and merges takes most of the time of a test that starts from words."""
    remembered_hydra.remember(monkeypatch)


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

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(subprocess, "run", run)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be made again is kept in a folder of the test; assets are where they are."""
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(assets.cache_folder()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


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
    """About 2,000 characters."""
    return write_words(tmp_path / "text.txt")


def write_words(path: Path) -> Path:
    """Words drawn from a small vocabulary."""
    rng = random.Random(0)
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "whether", "nobler"]
    path.write_text("".join(rng.choice(words) + rng.choice(" \n") for _ in range(420)))
    return path


@pytest.fixture
def composed() -> Callable[..., Config]:
    """`composed("model=tiny", "optim.lr=1e-2")`: the config that the command line would give."""

    def build(*overrides: str) -> Config:
        if overrides not in COMPOSED:
            COMPOSED[overrides] = compose.typed(_composition(overrides))
        return copy.deepcopy(COMPOSED[overrides])

    return build


def _composition(overrides: tuple[str, ...]) -> DictConfig:
    """As Hydra composes them; choices once, and values set on a copy, which takes it a tenth."""
    overrides = tuple(as_typed(overrides))
    keys = [word.partition("=")[0] for word in overrides]
    if any(key.startswith(("+", "~")) for key in keys):
        return _by_hydra(overrides)
    groups = {*CHOICES, "sweeps"}
    choices = tuple(word for word, key in zip(overrides, keys, strict=True) if key in groups)
    if choices not in CHOSEN:
        CHOSEN[choices] = _by_hydra(choices)
    cfg = copy.deepcopy(CHOSEN[choices])
    values = [word for word, key in zip(overrides, keys, strict=True) if key not in groups]
    for word in values:
        override = _parsed(word)
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return cfg


def _by_hydra(overrides: tuple[str, ...]) -> DictConfig:
    compose.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra_compose("config", overrides=list(overrides))


@cache
def _parsed(word: str) -> Override:
    return OverridesParser.create().parse_override(word)


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
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Config, Path], Path]:
    """`once(config, outputs)`: the directory of a run that is done: a copy of one trained once.

    For what a test begins with, and not for the training that it is about.
    """

    def call(config: Config, outputs: Path) -> Path:
        text = Path(str(config.data.path)).read_bytes()
        values = to_dict(config)
        del values["data"]["path"]
        key = (str(values), text)
        if key not in TRAINED:
            folder = tmp_path_factory.mktemp("once")
            own = copy.deepcopy(config)
            own.data.path = str(folder / "text.txt")
            Path(own.data.path).write_bytes(text)
            outcome = run_experiment(own, folder / "outputs")
            assert outcome.state == "done" and outcome.path is not None, outcome.error
            TRAINED[key] = outcome.path
        run = TRAINED[key]
        path = outputs / run.parent.name / run.name
        return Path(shutil.copytree(run, path, dirs_exist_ok=True))

    return call


@pytest.fixture
def finished(
    small: Callable[..., Config], once: Callable[[Config, Path], Path], tmp_path: Path
) -> Path:
    """The directory of a SMALL run that is done."""
    return once(small(), tmp_path / "outputs")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes time in each run and changes none: fsync, provenance, passes of the forecast,
    the rate of large matrices.

    A killed process leaves what it wrote to the system; no test cuts the power.
    """
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(throughput, "PROBE_SECONDS", 0.0)
    monkeypatch.setattr(rate, "ENOUGH", 0.0)
    monkeypatch.setitem(rate.SIDES, "cpu", 8)
    monkeypatch.setattr(directory, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(provenance, "git", dict)
    if not ENVIRONMENT:
        cpu = Runtime(torch.device("cpu"), torch.float32)
        ENVIRONMENT.update(provenance.environment(cpu))
    monkeypatch.setattr(
        provenance,
        "environment",
        lambda runtime: {**ENVIRONMENT, "threads": torch.get_num_threads()},
    )


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[torch.nn.Module]:
    """What torch.compile is asked for from now on, which it does without a compiler of C."""
    asked: list[torch.nn.Module] = []
    eager = functools.partial(torch.compile, backend="eager")

    def compile_eagerly(module: torch.nn.Module) -> Any:
        asked.append(eager(module))
        return asked[-1]

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    monkeypatch.setenv(compiling.KERNELS, str(tmp_path / "kernels"))
    return asked


@pytest.fixture
def gptexp(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """`gptexp("table", folder)`: the command line of the verbs, in this process."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["gptexp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Result(int(ended.value.code or 0), shown.out, shown.err)

    return call


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
