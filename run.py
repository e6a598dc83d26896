"""Compose a config with Hydra and train it: `python run.py model=medium optim.lr=1e-3`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptexp import console
from gptexp.config import arguments, compose, hydra_errors, keys, own, words
from gptexp.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SIGNAL,
    ConfigError,
    GptexpError,
    Problem,
    StorageError,
)
from gptexp.files import refusal
from gptexp.runs.state import NOT_STARTED, Outcome, RunState, ended_with
from gptexp.runtime.rendezvous import launched

if TYPE_CHECKING:
    from omegaconf import DictConfig

outcomes: list[Outcome] = []  # of the runs of this process, in order
multirun = False


def job(cfg: "DictConfig") -> Outcome | float | None:
    """One run, or one point of a sweep.

    Our own sweepers take its outcome; another one, its best validation loss.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from gptexp.experiment.inherit import inherited
    from gptexp.sweep.points import told, train_point
    from gptexp.sweep.search import told_trial

    global multirun
    multirun = HydraConfig.get().mode is RunMode.MULTIRUN
    console.setup()
    # Unresolved: an override may hold an interpolation, and a wrong one is typed()'s to word.
    task = HydraConfig.get().overrides.task
    overrides = [str(item) for item in OmegaConf.to_container(task, resolve=False) or []]
    try:
        config = inherited(compose.typed(cfg, overrides), overrides)
    except ConfigError as error:
        outcome = ended_with(error)
    else:
        if any(done.state is RunState.interrupted for done in outcomes):
            outcome = NOT_STARTED  # Ctrl-C ends a search too
        else:
            sweeper = HydraConfig.get().sweeper
            ask = told_trial(os.environ, sweeper, config)
            outcome = train_point(config, overrides, told(os.environ), should_prune=ask)
    outcomes.append(outcome)
    ours = HydraConfig.get().sweeper._target_ in (compose.SWEEPER, compose.SEARCH)
    return outcome if ours else outcome.best_val_loss


def hydra_main() -> None:
    """Have Hydra answer sys.argv; its import waits until then, or until a config is composed."""
    import hydra

    compose.register()
    hydra.main(version_base="1.3", config_path="conf", config_name="config")(job)()


def exit_code() -> int:
    """Of the only run; of a search 1 if any point failed. An interrupt comes first."""
    codes = [outcome.exit_code for outcome in outcomes]
    if interrupted := [code for code in codes if code > EXIT_SIGNAL]:
        return interrupted[0]
    return int(any(codes)) if multirun else next(iter(codes), EXIT_OK)


def cli() -> int:
    """Train one run, or have Hydra answer; turn what is raised into one line and an exit code.

    A sweep ends by the SystemExit of its sweeper, which has printed its table.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive as exceptions, not as text
    typed = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    for word in {"-v", "--verbose"}.intersection(typed):  # ours, and not Hydra's
        typed.remove(word)
        os.environ["GPTEXP_VERBOSE"] = "1"  # see sweep/points.py
    try:
        ranks = launched()
        console.follow(ranks.rank, ranks.local)
        if not ranks.is_main:
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        if {"-h", "--help"} & {*typed}:
            console.show(keys.help_text())
            return EXIT_OK
        typed = arguments.checked(typed)
        if (config := compose.single_run(typed)) is not None:
            from gptexp.experiment.inherit import inherited
            from gptexp.experiment.run import run_experiment

            return run_experiment(inherited(config, typed), overrides=typed).exit_code
        ConfigError.raise_for(arguments.option_problems(typed))
        if ranks.several:
            what = "trains single runs, and this is a sweep, an option or a setting of Hydra's"
            raise ConfigError(Problem("torchrun", what, "leave that out, or start it by python"))
        own.load_for(typed)
        if line := os.environ.get("COMP_LINE"):  # of a shell that asks
            own.load_for_completion(line)
        sys.argv[1:] = words.as_typed(typed)
        hydra_main()
        if not outcomes:  # but an answer
            sys.stdout.flush()
        return exit_code()
    except GptexpError as error:
        return console.fail(error)
    except KeyboardInterrupt:
        print("gptexp: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if hydra_errors.is_config_error(error):
            return console.fail(ConfigError(hydra_errors.explain(error, typed)))
        if isinstance(error, OSError):
            return console.fail(StorageError(refusal(error, Path(error.filename or "output"))))
        raise


if __name__ == "__main__":
    console.program(cli)
