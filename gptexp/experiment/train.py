"""One training run in its directory: build each part once, fit, sum up."""

import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gptexp import plugins
from gptexp.analysis.labels import label_of_command
from gptexp.config import Config, to_dict
from gptexp.data.corpus import is_capped, judged
from gptexp.errors import DivergedError, Problem
from gptexp.experiment.compatibility import check_resume
from gptexp.experiment.finish import Exact, TrainingResult, finish
from gptexp.experiment.identity import Identity
from gptexp.experiment.lifecycle import complete, mistakes_worded
from gptexp.experiment.manifest import write_manifest
from gptexp.experiment.prepare import Inputs
from gptexp.experiment.screen import announce
from gptexp.inference.generate import build_sampler
from gptexp.inference.mixed import build_evaluator
from gptexp.models.base import Model
from gptexp.models.build import build_model
from gptexp.models.counts import flops_per_token, total_parameters
from gptexp.optim.averages import build_averages
from gptexp.optim.build import build_optimizer, describe
from gptexp.optim.decay import decayed
from gptexp.optim.scaling import scale_weights
from gptexp.optim.schedule import build_schedule
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import State, Store
from gptexp.runs.journal import evaluations
from gptexp.runs.schema import Summary
from gptexp.runs.state import Outcome, RunState
from gptexp.runtime.device import cpu_threads
from gptexp.runtime.random import stream_seed
from gptexp.runtime.shards import shard
from gptexp.tokenizers.base import Tokenizer
from gptexp.tracking.tracker import NoTracker, Tracker, open_tracker
from gptexp.training.moments import Moments, View
from gptexp.training.parts import ShouldPrune, TrainerParts
from gptexp.training.trainer import Trainer

log = logging.getLogger(__name__)


def train(
    config: Config,
    identity: Identity,
    inputs: Inputs,
    overrides: list[str],
    label: str = "",
    should_prune: ShouldPrune | None = None,
) -> Outcome:
    """Fit in the run's directory, from its newest checkpoint if it has one; the summary comes last.

    Raises GptexpError, once status.json says what went wrong.
    """
    directory, ranks = identity.directory, inputs.ranks
    trunk = config.trunk_steps(inputs.trainer.max_steps)
    store = Store(directory.checkpoints, config.trainer.keep, trunk)
    if not ranks.is_main:
        return train_along(config, identity, inputs, store)
    begun = False

    def fill() -> Summary:
        nonlocal begun
        newest = store.latest()
        resumed = None if newest is None else newest.state
        check_resume(config, identity, inputs.tokenizer, resumed)
        if newest is not None:
            store.rewind(newest.entry)
        step = None if resumed is None else resumed["step"]
        parameters = total_parameters(config.model, inputs.tokenizer.vocab_size)
        announce(config.model.name, parameters, inputs, directory.path, step)
        write_manifest(config, identity, inputs, overrides, step)
        values = to_dict(config)
        shown = label or label_of_command(values, overrides)
        with open_tracker(config.logger, directory.path, values, step, shown) as tracker:
            begun = True
            ranks.told(Begun(resumed))
            trainer = build_trainer(config, identity, inputs, store, tracker, should_prune)
            if resumed is not None and should_prune is not None:
                for row in evaluations(directory.path):
                    trainer.val_loss = row["val/loss"]
            result = fit(trainer, resumed)
            return finish(config, directory.path, inputs.text, tracker, result)

    def guarded() -> Summary:
        with ranks.guarded():  # before status.json says how the run ended
            return fill()

    outcome = complete(directory, config, guarded)
    if not begun:
        ranks.told(None)
    return outcome


class Begun(NamedTuple):
    """What rank 0 tells the others of a run that is to be trained."""

    resumed: State | None


def train_along(config: Config, identity: Identity, inputs: Inputs, store: Store) -> Outcome:
    """Train as a rank that is not the first: what is decided, judged and written is not its own.

    It is done before the first, which has the last evaluations to make.
    """
    directory, ranks = identity.directory, inputs.ranks
    begun: Begun | None = ranks.told(None)
    if begun is not None:
        quiet = replace(inputs, trainer=replace(inputs.trainer, profile=0))
        with mistakes_worded(), cpu_threads(config.trainer.threads):
            trainer = build_trainer(config, identity, quiet, store, NoTracker())
            trainer.fit(begun.resumed)
    return Outcome(RunState.done, directory.path)


def build_trainer(
    config: Config,
    identity: Identity,
    inputs: Inputs,
    store: Store,
    tracker: Tracker,
    should_prune: ShouldPrune | None = None,
) -> Trainer:
    """A trainer with a model that is freshly initialised, or has the weights of init_from.

    What an extended vocabulary adds to them stays as it is initialised.
    """
    seed = stream_seed(config.seed, "init")
    model = build_model(config.model, inputs.tokenizer.vocab_size, seed)
    scale_weights(model, config.optim)
    model.to(inputs.runtime.device, inputs.runtime.weights)
    model.boundary = inputs.text.boundary
    if inputs.init is not None:
        weights = model.state_dict()
        for name, old in inputs.init["model"].items():
            weights[name][tuple(map(slice, old.shape))] = old
    parts = build_parts(config, identity.hash, inputs, model, store, tracker)
    look = partial(_view, config, identity.directory.path, inputs.tokenizer, model)
    moments = Moments(plugins.chosen(config.plugins) if inputs.ranks.is_main else (), look)
    parts = replace(parts, moments=moments, should_prune=should_prune)
    return Trainer(inputs.trainer, config.seed, parts)


def _view(
    config: Config,
    path: Path,
    tokenizer: Tokenizer,
    model: Model,
    step: int,
    values: Mapping[str, float],
) -> View:
    """What own code sees of the run as it is, copied."""
    copied = deepcopy(model).eval().requires_grad_(False)
    return View(copied, tokenizer, deepcopy(config), step, path, values)


def build_parts(
    config: Config,
    config_hash: str,
    inputs: Inputs,
    model: Model,
    store: Store,
    tracker: Tracker,
) -> TrainerParts:
    """Each part of a trainer from its own section of the config, around a model on its device."""
    runtime, tokenizer, cfg = inputs.runtime, inputs.tokenizer, inputs.trainer
    model.recomputes = cfg.activation_checkpointing
    optim = decayed(config.optim, inputs.steps_per_epoch)
    if words := describe(optim, model):
        log.info("optim   %s", words)
    trained = sharded(model, inputs) if inputs.ranks.shards else model
    return TrainerParts(
        model=model,
        ranks=inputs.ranks,
        shards=trained if inputs.ranks.shards else None,
        corpus=inputs.corpus,
        optimizer=build_optimizer(optim, trained),
        averages=build_averages(config.optim, model, cfg.max_steps),
        schedule=build_schedule(config.schedule, cfg.max_steps),
        peak_lr=config.optim.lr,
        flops_per_token=flops_per_token(config.model, tokenizer.vocab_size),
        runtime=runtime,
        evaluator=build_evaluator(model, inputs.corpus, tokenizer, runtime, cfg.eval_batch_size),
        sampler=build_sampler(model, inputs.text, cfg, config.seed),
        store=store,
        tracker=tracker,
        identity={
            "config": to_dict(config),
            "config_hash": config_hash,
            "tokenizer": tokenizer.to_dict(),
            **({"end_of_text": tokenizer.end_of_text} if config.data.tokens else {}),
        },
    )


def sharded(model: Model, inputs: Inputs) -> Model:
    """The model as shards; rank 0, which evaluates and samples, keeps it whole beside them."""
    shards = deepcopy(model) if inputs.ranks.is_main else model
    shard(shards, inputs.runtime.device.type)
    return shards


def fit(trainer: Trainer, resumed: State | None) -> TrainingResult:
    """Train, then look at the best weights: their test loss and a sample.

    Where evaluations were capped, the last weights and the best are judged exactly. Raises
    DivergedError for best ones whose loss over all targets is not finite.
    """
    parts, cap = trainer.parts, trainer.cfg.eval_tokens
    stop_reason = trainer.fit(resumed)
    final_weights = checkpoint.digest(parts.model.state_dict())
    final = parts.evaluator.row() if is_capped(parts.corpus, cap) else None
    best_step, best_file = trainer.stop.best_step, None
    if best_step >= 0:
        parts.model.load_state_dict(parts.store.best()["model"])
        best_file = parts.store.folder / parts.store.best_entry().file
    exact = None
    if final is not None:
        best = final if best_step in (-1, trainer.step) else parts.evaluator.row()
        exact = Exact(best, final, judged(parts.corpus, cap)["val"])
        if best_step >= 0 and not math.isfinite(best["val/loss"]):
            what = "the lowest loss of capped evaluations, and none that is finite over all targets"
            raise DivergedError(Problem(f"step {best_step}", what, "trainer.eval_tokens=null"))
    parts.moments.reached("end", trainer.step)
    sample, probe = parts.sampler.draw(max(best_step, 0))
    return TrainingResult(
        stop_reason=stop_reason,
        best_step=best_step,
        best_weights=checkpoint.digest(parts.model.state_dict()),
        final_weights=final_weights,
        test=parts.evaluator.evaluate("test") if parts.corpus.tokens_per_epoch("test") else None,
        sample=sample,
        probe=probe,
        best_file=best_file,
        exact=exact,
    )
