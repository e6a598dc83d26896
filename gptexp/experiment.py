"""One run from its config: find its directory, build each part once, fit, summarise."""

import logging
import traceback
from pathlib import Path
from typing import Any

from gptexp import checkpoint, console, networks, optim, schedule, summary, tracking
from gptexp.checkpoint import State, Store
from gptexp.conclusion import conclude
from gptexp.config import Config, to_dict
from gptexp.errors import EXIT_BUG, GptexpError
from gptexp.manifest import record
from gptexp.outcome import Outcome, ended_with
from gptexp.preflight import Identity, Inputs, check_resume, identify, prepare
from gptexp.rundir import OUTPUTS, RunDirectory
from gptexp.runtime import cpu_threads, stream_seed
from gptexp.standing import settle, standing, to_be_replaced
from gptexp.status import recorded
from gptexp.trainer import Parts, Trainer

log = logging.getLogger(__name__)


def run(config: Config, outputs: Path = OUTPUTS, overrides: list[str] | None = None) -> Outcome:
    """Train `config`, or take it up where it stopped, or return what stands.

    Shows errors and raises none; the outcome carries the exit code.
    """
    path, stage = None, "refused"
    try:
        who = identify(config, outputs)
        path = who.directory.path
        replaces = to_be_replaced(config, who.directory)
        if not replaces and (outcome := standing(config, who.directory)) is not None:
            show(outcome, who.directory)
            return outcome
        inputs = prepare(config, who)
        if replaces:
            log.info("the old run is now %s", who.directory.move_aside())
        threads = cpu_threads(config.trainer.threads)
        with who.directory.locked(), console.logged_to(who.directory.log), threads:
            stage = "failed"
            return train(config, who, inputs, overrides or [])
    except GptexpError as error:
        return ended_with(error, stage, path)
    except Exception as error:  # of a sweep, the other points run on
        log.error("%s: a bug in gptexp\n%s", path or "run", traceback.format_exc())
        return Outcome("failed", EXIT_BUG, path, error=f"{type(error).__name__}: {error}")


def show(over: Outcome, directory: RunDirectory) -> None:
    """The last lines of a run that was over before its command."""
    code = f", {over.note}" if over.note else ""
    log.info("already done%s (rerun=true trains it anew)", code)
    summary.show(directory.summary() or {}, directory.path)


def train(config: Config, who: Identity, inputs: Inputs, overrides: list[str]) -> Outcome:
    """Fit in the locked directory; the summary comes last."""
    directory = who.directory
    if (result := directory.summary()) is None:  # else another process was faster
        with recorded(directory):
            store = Store(directory.checkpoints, config.trainer.keep)
            resumed = store.resume()
            check_resume(config, who, inputs.tokenizer, resumed)
            announce(config, who, inputs, resumed)
            record(config, who, inputs, overrides, resumed)
            result = fit(config, who, inputs, store, resumed)
            directory.write_json("summary.json", result)
    settle(config, directory, result)
    summary.show(result, directory.path)
    return Outcome("done", 0, directory.path, summary.best_val_loss(result))


def fit(
    config: Config, who: Identity, inputs: Inputs, store: Store, resumed: State | None
) -> dict[str, Any]:
    """Build each part from its section, train, and judge the best weights; returns the summary."""
    vocab_size, device = inputs.tokenizer.vocab_size, inputs.runtime.device
    network = networks.build(config.model, vocab_size, stream_seed(config.seed, "init"))
    if who.init is not None:
        network.load_state_dict(who.init["model"])
    network.to(device)
    step = None if resumed is None else resumed["step"]
    with tracking.open_tracking(config, who.directory.path, step) as tracked:
        parts = Parts(
            model=network,
            corpus=inputs.corpus,
            tokenizer=inputs.tokenizer,
            optimizer=optim.build(config.optim, network),
            schedule=schedule.build(config.schedule, inputs.trainer.max_steps),
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


def announce(config: Config, who: Identity, inputs: Inputs, resumed: State | None) -> None:
    """The first lines: model, data, machine, directory."""
    vocab_size = inputs.tokenizer.vocab_size
    parameters = sum(networks.count_parameters(config.model, vocab_size).values())
    log.info(
        "model   %s: %s parameters, on %s",
        config.model.name,
        f"{parameters:,}",
        inputs.runtime.describe(),
    )
    log.info("data    %s", inputs.data_line)
    log.info("run     %s", who.directory.path)
    if resumed is not None:
        log.info(
            "resume  at step %s of %s", f"{resumed['step']:,}", f"{inputs.trainer.max_steps:,}"
        )
