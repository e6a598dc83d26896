"""What trainer.compile=auto comes to: decided once, and kept in the run's manifest."""

import torch

from gptexp.config import AUTO, Config, TrainerConfig
from gptexp.data.corpus import Corpus
from gptexp.experiment.identity import Identity, to_be_replaced
from gptexp.experiment.speed import speed_of
from gptexp.runtime.device import Runtime
from gptexp.training import compiling


def compiles(
    config: Config,
    identity: Identity,
    trainer: TrainerConfig,
    vocab_size: int,
    corpus: Corpus,
    runtime: Runtime,
) -> bool:
    """Whether the passes of this run are compiled; `trainer` knows how long it is.

    A run that was begun goes on as it began, so that it equals one that never stopped. On another
    kind of device it never does, and what pays is decided anew. Raises DamagedError.
    """
    if isinstance(config.trainer.compile, bool):
        return config.trainer.compile
    told = _begun(config, identity, runtime)
    return _pays(config, trainer, vocab_size, corpus, runtime) if told is None else told


def _begun(config: Config, identity: Identity, runtime: Runtime) -> bool | None:
    """What was decided when the run began, on such a device; None where it begins now."""
    if to_be_replaced(config, identity.directory):
        return None
    environment = identity.directory.manifest().get("environment", {})
    same = environment.get("device") == runtime.device.type
    return environment.get("compiled") if same else None


def _pays(
    config: Config, trainer: TrainerConfig, vocab_size: int, corpus: Corpus, runtime: Runtime
) -> bool:
    """Whether compiling pays, by the time that some passes take without it."""
    if runtime.device.type not in compiling.PAYS_ON:
        return False
    try:
        speed = speed_of(config, vocab_size, corpus, runtime)
    except torch.OutOfMemoryError:  # which the first step will tell
        return False
    seconds = corpus.tokens_seen(trainer.max_steps) * speed.trained
    return compiling.pays(runtime.device.type, seconds)


def decision(config: Config, trainer: TrainerConfig) -> dict[str, bool]:
    """What the manifest says of it beside the machine, if `auto` left it open."""
    return {"compiled": trainer.compile is True} if config.trainer.compile == AUTO else {}
