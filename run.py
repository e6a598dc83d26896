"""Compose a config with Hydra and train it: `python run.py model=medium optim.lr=1e-3`."""

import os
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gptexp.config import compose, explain
from gptexp.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, GptexpError, StorageError

if TYPE_CHECKING:
    from gptexp.experiment import Outcome

outcomes: list["Outcome"] = []  # of this process, in order; Hydra hands back none of a sweep's
multirun = False
compose.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """One run, or one point of a sweep; returns its best validation loss for search sweepers."""
    from gptexp import console, experiment  # torch: only when something is trained

    global multirun
    multirun = HydraConfig.get().mode is RunMode.MULTIRUN
    console.setup()
    if outcomes and outcomes[-1].state == "interrupted":
        return None  # Ctrl-C ends the sweep: no new point starts
    try:
        config = compose.typed(cfg)
    except ConfigError as error:
        outcome = experiment.ended_with(error)
    else:
        overrides = list(HydraConfig.get().overrides.task)
        outcome = experiment.run(config, overrides=overrides)
    outcomes.append(outcome)
    return outcome.best_val_loss


def exit_code() -> int:
    """Of the only run; of a sweep 1 if any point failed. An interrupt comes first."""
    codes = [outcome.exit_code for outcome in outcomes]
    if interrupted := [code for code in codes if code >= EXIT_INTERRUPTED]:
        return interrupted[0]
    return int(any(codes)) if multirun else next(iter(codes), EXIT_OK)


def cli() -> int:
    """Run Hydra's main and turn what it raises into one line and an exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors arrive as exceptions, not as text
    try:
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
    """The last lines of a multirun."""
    print()
    for outcome in outcomes:
        best = "" if outcome.best_val_loss is None else f"{outcome.best_val_loss:.4f}"
        where = outcome.directory.name if outcome.directory else ""
        print(f"{outcome.state:12} {best:8} {where} {outcome.error}".rstrip())


if __name__ == "__main__":
    sys.exit(cli())
