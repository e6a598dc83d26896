"""gptexp: a research harness for small GPTs.

import gptexp
outcome = gptexp.train(["model.n_layer=2", "trainer.max_steps=500"])
outcomes = gptexp.train_grid(["name=lr", "optim.lr=1e-3,3e-3", "seed=0,1"])
runs = gptexp.load_runs("outputs/lr")
run = gptexp.load("best:outputs/lr")
run.model, run.tokenizer, run.config, run.metrics, run.summary
gptexp.ensemble(runs, counts=True).loss
"""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptexp.config.own import model, optimizer, tokenizer
from gptexp.plugins import metric, on

if TYPE_CHECKING:
    from gptexp.analysis.frame import Runs
    from gptexp.analysis.records import Run
    from gptexp.config import Config
    from gptexp.experiment.ensemble import Ensemble
    from gptexp.inference.load import LoadedRun
    from gptexp.runs.state import Outcome

__version__ = "0.1.0"
__all__ = [
    "ensemble",
    "load",
    "load_runs",
    "metric",
    "model",
    "on",
    "optimizer",
    "tokenizer",
    "train",
    "train_grid",
]

log = logging.getLogger(__name__)

# Each function imports what it needs: `--cfg` and tab completion import this file, and no torch.

# On a CPU torch's threads (GNU OpenMP) spin while they wait for each other, by default for
# milliseconds, which the thread they wait for may need on a shared core: a step took ten times as
# long. OpenMP reads this as torch is loaded; benchmarks/NOTES.md has the figures.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def train(config: "Sequence[str] | Config" = (), *, quiet: bool = False) -> "Outcome":
    """Train what `python run.py OVERRIDES` would, or a Config; returns what became of it.

    The outcome has the `path` of the run, its `state` and its `best_val_loss` in nats per token. A
    run that stands is not trained again, and one that was interrupted goes on, as the command does.
    A Config is taken as it is: nothing comes along from its init_from but weights and tokenizer.
    `quiet` shows warnings alone. Raises GptexpError for all that the command refuses or fails with.
    """
    from gptexp import console
    from gptexp.config import Config, fitted, retyped
    from gptexp.config.grid import of_command
    from gptexp.errors import ConfigError, Problem
    from gptexp.experiment.run import run_experiment
    from gptexp.sweep.points import SweepPoint, points_of

    if isinstance(config, Config):
        points = [SweepPoint([], retyped(config))]
    else:
        points = points_of(of_command(_words(config)))
    if len(points) > 1:
        what = f"{len(points)} points, and this trains one"
        raise ConfigError(Problem("overrides", what, "gptexp.train_grid"))
    [point] = points
    if isinstance(point.config, ConfigError):
        raise point.config
    with console.shown(quiet):
        config = fitted(point.config)
        return run_experiment(config, overrides=point.overrides, raises=True)


def train_grid(overrides: Sequence[str], *, quiet: bool = False) -> "list[Outcome]":
    """Train the points of `python run.py -m OVERRIDES`, one after another; returns all outcomes.

    They are in the order of the grid. A point that is refused, fails or diverges stops no other;
    its outcome says so. Raises ConfigError where the grid cannot be read.
    """
    from gptexp import console
    from gptexp.config.grid import of_command
    from gptexp.sweep.points import points_of
    from gptexp.sweep.run import run_sweep

    points = points_of(of_command(_words(overrides)))
    with console.shown(quiet):
        run_sweep(points, None, 1)
    return [point.outcome for point in points]


def load_runs(*folders: str | Path) -> "Runs":
    """The runs that these are or hold, `outputs` where none is named; damaged ones are warned of.

    `pandas.DataFrame(runs.rows())` is a frame of them. Raises ConfigError for a folder that is not
    there or holds no run.
    """
    from gptexp.analysis.frame import Runs
    from gptexp.analysis.records import collect
    from gptexp.runs.directory import OUTPUTS

    runs, damaged = collect([_path(folder) for folder in folders or [OUTPUTS]])
    for problem in damaged:
        log.warning("%s", problem)
    return Runs(runs)


def load(
    run: "str | Path | Run",
    device: str = "cpu",
    plugins: Sequence[str] = (),
    weights: str = "raw",
) -> "LoadedRun":
    """Model (best weights, evaluation mode), tokenizer, config and metrics of a run directory.

    `run` may also be a checkpoint file, one of `load_runs`, or say which run as it does after a
    verb, best:outputs/lr; `device` is a torch device, such as cuda:0. `plugins` are the modules of
    an own model, optimizer or tokenizer, which a run directory only names. `weights` are raw, or
    the best ema or mean of a run that kept such an average of them. Raises ConfigError when no run,
    or more than one, is meant, and CheckpointError when there is no checkpoint that can be
    verified.
    """
    from gptexp import plugins as own
    from gptexp.analysis.find import find_run
    from gptexp.inference.load import load_run
    from gptexp.runtime.device import check_device

    check_device(device)
    own.load(_words(plugins, "plugins", "['my_module']"))
    return load_run(find_run(_path(getattr(run, "path", run))).path, device, weights)


def ensemble(
    runs: "Sequence[str | Path | Run]",
    split: str = "val",
    *,
    counts: bool = False,
    device: str = "cpu",
    plugins: Sequence[str] = (),
) -> "Ensemble":
    """Runs as one model, by the mean of their probabilities, judged exactly on val or test.

    `runs` are each what `load` takes, or a folder, for all that are done in it; damaged ones are
    warned of. `counts` adds n-grams of the training text. Raises ConfigError where no run, or more
    than one, is meant, and with a line for each that cannot be read or does not fit the others.
    """
    from gptexp import plugins as own
    from gptexp.analysis.find import find_all
    from gptexp.errors import ConfigError, Problem
    from gptexp.experiment import ensemble as together
    from gptexp.runtime.device import check_device

    words = [] if isinstance(runs, str) or not isinstance(runs, Iterable) else list(runs)
    if not words:
        what, fix = f"{str(runs)!r} is no list of runs", "a list, as ['best:outputs/lr']"
        raise ConfigError(Problem("runs", what, fix))
    check_device(device)
    own.load(_words(plugins, "plugins", "['my_module']"))
    members, damaged = find_all([_path(getattr(run, "path", run)) for run in words])
    for note in [*damaged, *(note for member in members for note in member.notes)]:
        log.warning("%s", note)
    return together.ensemble(
        [member.path for member in members], split, counts=counts, device=device
    )


def _words(
    words: object, name: str = "overrides", example: str = "['seed=1', 'optim.lr=1e-3']"
) -> list[str]:
    """The words of a list; raises ConfigError for what is none, such as one word."""
    from gptexp.errors import ConfigError, Problem

    if isinstance(words, str) or not isinstance(words, Sequence):
        raise ConfigError(Problem(name, f"{words!r} is no list", f"a list, as {example}"))
    if odd := [word for word in words if not isinstance(word, str)]:
        raise ConfigError(Problem(name, f"{odd[0]!r} is no text", f"texts, as {example}"))
    return list(words)


def _path(path: object) -> Path:
    """A path, with `~` as the user's folder; raises ConfigError for what is none."""
    from gptexp.errors import ConfigError, Problem
    from gptexp.files import at_home

    if not isinstance(path, str | Path):
        what, fix = f"{path!r} is no path", "a text, as 'outputs/default'"
        raise ConfigError(Problem("run", what, fix))
    return at_home(path)
