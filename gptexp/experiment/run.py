"""One run from its config: return what stands, or train it. Torch-free until it trains."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gptexp import plugins
from gptexp.config import Config
from gptexp.config.own import with_its_modules
from gptexp.errors import GptexpError, PrunedError
from gptexp.experiment.identity import Identity, identify, to_be_replaced
from gptexp.experiment.lifecycle import what_stands
from gptexp.experiment.screen import show_again
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.state import Outcome, RunState, ended_with
from gptexp.runtime.rendezvous import joined

if TYPE_CHECKING:
    from gptexp.experiment.prepare import Inputs

log = logging.getLogger(__name__)


def run_experiment(
    config: Config,
    outputs: Path = OUTPUTS,
    overrides: list[str] | None = None,
    raises: bool = False,
    label: str = "",
    should_prune: Callable[[int, float], bool] | None = None,
) -> Outcome:
    """Train `config`, or take it up where it stopped, or return what stands, here or elsewhere.

    Shows errors and raises none, unless `raises` says so; the outcome carries the exit code.
    `label` tells it from the other points of its sweep. A search is asked by `should_prune`, with
    the step and the validation loss of each evaluation, whether to give the run up.
    """
    path, stage = None, RunState.refused
    try:
        ranks = joined(config.trainer)
        with ranks.parting(), ranks.guarded():
            config = with_its_modules(config)
            identity = ranks.of_main(lambda: identify(config, outputs))
            path = identity.directory.path
            standing = ranks.of_main(lambda: shown_again(config, identity, overrides or []))
            if standing is not None:
                return standing
            plugins.load(config.plugins)
            from gptexp.experiment.prepare import prepare  # torch
            from gptexp.experiment.train import train

            inputs = ranks.together(lambda: prepare(config, identity, ranks))
            inputs = replace(inputs, trainer=ranks.told(inputs.trainer))
            ranks.of_main(lambda: make_way(config, identity, inputs))
            stage = RunState.failed
            return train(config, identity, inputs, overrides or [], label, should_prune)
    except PrunedError as end:
        return Outcome(RunState.pruned, path, note=end.problems[0].what)
    except GptexpError as error:
        if raises:
            raise
        return ended_with(error, stage, path)
    except Exception as error:  # of a sweep, the other points run on
        if raises:
            raise
        return _ended_by_bug(error, stage, path)


def shown_again(config: Config, identity: Identity, overrides: list[str]) -> Outcome | None:
    """The outcome of a run that is over, with its last lines; see what_stands."""
    if (outcome := what_stands(config, identity, overrides)) is not None:
        show_again(outcome, identity.directory, config)
    return outcome


def make_way(config: Config, identity: Identity, inputs: "Inputs") -> None:
    """Have the run's directory as it begins: empty, or with what the run goes on from."""
    from gptexp.experiment.branch import branch  # torch
    from gptexp.experiment.extend import extend

    if to_be_replaced(config, identity.directory):
        log.info("the old run is now %s", identity.directory.move_aside())
    else:
        extend(config, identity, inputs.trainer)
    if identity.base is not None:
        branch(config, identity, inputs)


def _ended_by_bug(error: Exception, stage: RunState, path: Path | None) -> Outcome:
    """Show what no GptexpError words: a fault of own code in a line, one of ours in full."""
    if (problem := plugins.culprit(error)) is not None:
        return ended_with(GptexpError(problem), stage, path)
    log.error("%s: a bug in gptexp\n%s", path or "run", traceback.format_exc())
    return Outcome(RunState.failed, path, error=f"{type(error).__name__}: {error}")
