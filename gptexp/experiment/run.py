"""One run from its config: find its directory, build each part once, fit, summarise."""

import logging
import traceback
from pathlib import Path
from typing import Any

from gptexp import console
from gptexp.config import Config, to_dict
from gptexp.errors import GptexpError
from gptexp.experiment.compatibility import check_resume
from gptexp.experiment.finish import conclude
from gptexp.experiment.identity import Identity, identify
from gptexp.experiment.lifecycle import settle, standing_outcome, status_kept, to_be_replaced
from gptexp.experiment.manifest import write_manifest
from gptexp.experiment.prepare import Inputs, prepare
from gptexp.experiment.screen import announce, show_again, show_summary
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer
from gptexp.optim.schedule import build_schedule
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import State, Store
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.state import Outcome, RunState, ended_with
from gptexp.runs.summary import best_val_loss
from gptexp.runtime.device import cpu_threads
from gptexp.runtime.random import stream_seed
from gptexp.tracking.tracker import open_tracker
from gptexp.training.trainer import Trainer, TrainerParts

log = logging.getLogger(__name__)


def run_experiment(
    config: Config, outputs: Path = OUTPUTS, overrides: list[str] | None = None
) -> Outcome:
    """Train `config`, or take it up where it stopped, or return what stands.

    Shows errors and raises none; the outcome carries the exit code.
    """
    path, stage = None, RunState.refused
    try:
        who = identify(config, outputs)
        path = who.directory.path
        replaces = to_be_replaced(config, who.directory)
        if not replaces and (outcome := standing_outcome(config, who.directory)) is not None:
            show_again(outcome, who.directory)
            return outcome
        inputs = prepare(config, who)
        if replaces:
            log.info("the old run is now %s", who.directory.move_aside())
        threads = cpu_threads(config.trainer.threads)
        with who.directory.locked(), console.logged_to(who.directory.log), threads:
            stage = RunState.failed
            return train(config, who, inputs, overrides or [])
    except GptexpError as error:
        return ended_with(error, stage, path)
    except Exception as error:  # of a sweep, the other points run on
        log.error("%s: a bug in gptexp\n%s", path or "run", traceback.format_exc())
        return Outcome(RunState.failed, path, error=f"{type(error).__name__}: {error}")


def train(config: Config, who: Identity, inputs: Inputs, overrides: list[str]) -> Outcome:
    """Fit in the locked directory; the summary comes last."""
    directory = who.directory
    if (result := directory.summary()) is None:  # else another process was faster
        with status_kept(directory):
            store = Store(directory.checkpoints, config.trainer.keep)
            resumed = store.resume()
            check_resume(config, who, inputs.tokenizer, resumed)
            announce(config, who, inputs, resumed)
            write_manifest(config, who, inputs, overrides, resumed)
            result = fit(config, who, inputs, store, resumed)
            directory.write_json("summary.json", result)
    settle(config, directory, result)
    show_summary(result, directory.path)
    return Outcome(RunState.done, directory.path, best_val_loss(result))


def fit(
    config: Config, who: Identity, inputs: Inputs, store: Store, resumed: State | None
) -> dict[str, Any]:
    """Build each part from its section, train, and judge the best weights; returns the summary."""
    vocab_size, device = inputs.tokenizer.vocab_size, inputs.runtime.device
    network = build_model(config.model, vocab_size, stream_seed(config.seed, "init"))
    if who.init is not None:
        network.load_state_dict(who.init["model"])
    network.to(device)
    step = None if resumed is None else resumed["step"]
    with open_tracker(config, who.directory.path, step) as tracked:
        parts = TrainerParts(
            model=network,
            corpus=inputs.corpus,
            tokenizer=inputs.tokenizer,
            optimizer=build_optimizer(config.optim, network),
            schedule=build_schedule(config.schedule, inputs.trainer.max_steps),
            runtime=inputs.runtime,
            store=store,
            tracking=tracked,
            identity={
                "config": to_dict(config),
                "config_hash": who.hash,
                "tokenizer": inputs.tokenizer.to_dict(),
            },
        )
        trainer = Trainer(inputs.trainer, config.seed, config.optim.lr, parts)
        stop_reason = trainer.fit(resumed)
        final_weights = checkpoint.digest(network.state_dict())
        best_step = trainer.stop.best_step
        if best_step >= 0:
            network.load_state_dict(store.best()["model"])
        return conclude(
            config,
            who.directory.path,
            inputs,
            tracked,
            stop_reason=stop_reason,
            best_step=best_step,
            weights={"best": checkpoint.digest(network.state_dict()), "final": final_weights},
            test=trainer.evaluate("test") if config.data.test_fraction else None,
            drawn=trainer.sample(max(best_step, 0)),
            best_file=store.folder / store.best_entry().file if best_step >= 0 else None,
        )
