"""Compose a config with Hydra and train it: `python run.py model=medium optim.lr=1e-3`."""

import os
import sys
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from gptexp.config import compose, explain
from gptexp.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, GptexpError, StorageError

if TYPE_CHECKING:
    from gptexp.experiment import Outcome

outcomes: list["Outcome"] = []  # of this process, in order; Hydra hands back none of a sweep's
compose.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """One run, or one point of a sweep; returns its best validation loss for search sweepers."""
    from hydra.core.hydra_config import HydraConfig

    from gptexp import console, experiment  # torch: only when something is trained

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
    """Of the only run, or of the sweep: 0 if all went well, else 1; an interrupt comes first."""
    if len(outcomes) == 1:
        return outcomes[0].exit_code
    codes = [outcome.exit_code for outcome in outcomes]
    return next((code for code in codes if code >= EXIT_INTERRUPTED), int(any(codes)))


def cli() -> int:
    """Run Hydra's main and turn what it raises into one line and an exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors arrive as exceptions, not as text
    try:
        found = explain.override_problems(sys.argv[1:])
        if found:
            raise ConfigError(*found)
        main()
        if len(outcomes) > 1:
            print_sweep()
        return exit_code() if outcomes else EXIT_OK
    except GptexpError as error:
        return fail(error)
    except KeyboardInterrupt:
        print("gptexp: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if explain.is_config_error(error):
            return fail(ConfigError(explain.explain(error, sys.argv)))
        return fail(
            StorageError(f"{error.filename}: {error.strerror}. Fix: run in a writable folder")
        )
    except Exception as error:
        if not explain.is_config_error(error):
            raise
        return fail(ConfigError(explain.explain(error, sys.argv)))


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
