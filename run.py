"""Compose a config with Hydra and train it: `python run.py model=medium optim.lr=1e-3`."""

import os
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gptexp.config import compose, explain
from gptexp.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, GptexpError, StorageError

if TYPE_CHECKING:
    from gptexp.experiment import Outcome

# Of this process, in order, each with its overrides; Hydra hands back none of a sweep's.
points: list[tuple[list[str], "Outcome"]] = []
multirun = False
compose.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """One run, or one point of a sweep; returns its best validation loss for search sweepers."""
    from gptexp import console, experiment  # torch: only when something is trained

    global multirun
    multirun = HydraConfig.get().mode is RunMode.MULTIRUN
    console.setup()
    # Unresolved: an override may hold an interpolation, and a wrong one is typed()'s to word.
    task = HydraConfig.get().overrides.task
    overrides = [str(item) for item in OmegaConf.to_container(task, resolve=False) or []]
    try:
        config = compose.typed(cfg)
    except ConfigError as error:
        outcome = experiment.ended_with(error)
    else:
        if any(done.state == "interrupted" for _, done in points):
            outcome = experiment.Outcome("not started", EXIT_INTERRUPTED)  # Ctrl-C ends the sweep
        else:
            outcome = experiment.run(config, overrides=overrides)
    points.append((overrides, outcome))
    return outcome.best_val_loss


def exit_code() -> int:
    """Of the only run; of a sweep 1 if any point failed. An interrupt comes first."""
    codes = [outcome.exit_code for _, outcome in points]
    if interrupted := [code for code in codes if code >= EXIT_INTERRUPTED]:
        return interrupted[0]
    return int(any(codes)) if multirun else next(iter(codes), EXIT_OK)


def cli() -> int:
    """Run Hydra's main and turn what it raises into one line and an exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors arrive as exceptions, not as text
    try:
        sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
        found = explain.override_problems(sys.argv[1:])
        if found:
            raise ConfigError(*found)
        main()
        return exit_code()
    except GptexpError as error:
        return fail(error)
    except KeyboardInterrupt:
        print("gptexp: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if explain.is_config_error(error):
            return fail(ConfigError(explain.explain(error, sys.argv)))
        if isinstance(error, OSError):
            where = error.filename or "output"
            return fail(StorageError(f"{where}: {error.strerror}. Fix: run in a writable folder"))
        raise
    finally:
        if multirun:
            print_sweep()


def fail(error: GptexpError) -> int:
    for problem in error.problems:
        print(f"gptexp: error: {problem}", file=sys.stderr)
    return error.exit_code


def print_sweep() -> None:
    """The last lines of a multirun: what each point changes, and what became of it."""
    common = set.intersection(*(set(overrides) for overrides, _ in points)) if points else set()
    print(f"\n{'state':12} {'best val':>8}  point")
    for overrides, outcome in points:
        best = "" if outcome.best_val_loss is None else f"{outcome.best_val_loss:.4f}"
        changes = " ".join(item for item in overrides if item not in common)
        what = outcome.error or (outcome.directory.name if outcome.directory else "")
        print(f"{outcome.state:12} {best:>8}  {changes}  {what}".rstrip())


if __name__ == "__main__":
    sys.exit(cli())
