"""What several ranks cannot train, refused before anything is written."""

from collections.abc import Iterator

from gptexp import plugins
from gptexp.config import (
    AdamConfig,
    AdamWConfig,
    BigramConfig,
    Config,
    Dtype,
    MuonConfig,
    TrainerConfig,
)
from gptexp.config.schema import OWN_SECTIONS
from gptexp.errors import Problem
from gptexp.runtime.distributed import Ranks


def problems(config: Config, ranks: Ranks) -> Iterator[Problem]:
    """Everything that these ranks cannot do of a config; nothing where a process is alone."""
    if not ranks.several:
        return
    trainer = config.trainer
    if trainer.grad_accum % ranks.size:
        what = f"{trainer.grad_accum} cannot be shared evenly by {ranks.size} ranks"
        yield Problem("trainer.grad_accum", what, _evenly(trainer, ranks.size))
    if trainer.device == "mps" or ":" in trainer.device:
        what = f"{trainer.device} is one device, and there are {ranks.size} ranks"
        yield Problem("trainer.device", what, "trainer.device=cuda, or cpu")
    if ranks.shards:
        yield from _shard_problems(config)


def _shard_problems(config: Config) -> Iterator[Problem]:
    """What takes whole weights, where each rank has a shard of them alone."""
    key, fix = "trainer.parallel", "trainer.parallel=ddp"
    optim, trainer = config.optim, config.trainer
    if isinstance(optim, MuonConfig):
        yield Problem(key, "fsdp has shards of matrices, and optim=muon takes whole ones", fix)
    elif isinstance(config.model, BigramConfig):
        yield Problem(key, "fsdp is for weights with gradients, and bigrams are counted", fix)
    elif plugins.named("optim", optim.name) or not isinstance(optim, AdamConfig | AdamWConfig):
        yield Problem(key, f"fsdp is for Adam and AdamW, and this is optim={optim.name}", fix)
    elif isinstance(optim, AdamWConfig) and optim.cautious_decay:
        yield Problem(key, "fsdp has no optim.cautious_decay", fix)
    if optim.averages:
        what = f"fsdp keeps no average of the weights ({', '.join(optim.averages)})"
        yield Problem(key, what, fix)
    if trainer.diagnostics_interval:
        yield Problem(key, "fsdp has no trainer.diagnostics_interval", fix)
    if own := [p for p in plugins.chosen(config.plugins) if p.moment not in OWN_SECTIONS]:
        yield Problem(key, f"fsdp calls no own metrics and callbacks ({own[0]})", fix)
    if trainer.compile is True:
        yield Problem(key, "fsdp is not compiled here", f"trainer.compile=false, or {fix}")
    if trainer.dtype is Dtype.float16:
        yield Problem(key, "fsdp has no loss scale for float16", "trainer.dtype=bfloat16")


def _evenly(trainer: TrainerConfig, size: int) -> str:
    """Passes that the ranks can share, of as many rows as now where that can be."""
    for count in range(size, trainer.rows + 1, size):
        if count >= trainer.grad_accum and trainer.rows % count == 0:
            return (
                f"trainer.batch_size={trainer.rows // count} trainer.grad_accum={count}, "
                f"which are {trainer.rows} rows as now"
            )
    return f"trainer.grad_accum={-(-trainer.grad_accum // size) * size}"
