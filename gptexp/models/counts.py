"""What a model has and costs, from its config alone: parameters, FLOPs, memory."""

from gptexp import plugins
from gptexp.config import ModelConfig
from gptexp.models.build import model_class
from gptexp.runtime.device import Runtime


def count_parameters(cfg: ModelConfig, vocab_size: int) -> dict[str, int]:
    """Parameters by component."""
    with plugins.running(plugins.own(cfg)):
        return model_class(cfg).count_parameters(cfg, vocab_size)


def total_parameters(cfg: ModelConfig, vocab_size: int) -> int:
    """The number of parameters; those of a tied head count once."""
    return sum(count_parameters(cfg, vocab_size).values())


def without_tables(counts: dict[str, int]) -> int:
    """The parameters but for those of the tables that look tokens and positions up."""
    return sum(counts.values()) - counts.get("token table", 0) - counts.get("position table", 0)


def flops_per_token(cfg: ModelConfig, vocab_size: int) -> int:
    """Floating-point operations per trained token, forward and backward."""
    with plugins.running(plugins.own(cfg)):
        return model_class(cfg).flops_per_token(cfg, vocab_size)


def training_memory(
    cfg: ModelConfig,
    vocab_size: int,
    batch_size: int,
    runtime: Runtime,
    recomputes: bool = False,
    mask_documents: bool = False,
    copies: int = 4,
) -> int:
    """Bytes that training needs at least, in the run's arithmetic on its device, an estimate.

    Of the weights so many `copies`: themselves, gradients, Adam's two moments. Per token what the
    backward pass reads again, or what is left of it where it `recomputes`; logits, the logarithms
    of their probabilities, and the gradients of both. With 16 bits what is read again is as it was
    multiplied, the matrices among it. `python -m benchmarks.speed --parts memory` sets it beside
    what a run takes.
    """
    counts, kind = count_parameters(cfg, vocab_size), model_class(cfg)
    wide, narrow = runtime.weights.itemsize, runtime.dtype.itemsize
    with plugins.running(plugins.own(cfg)):
        if recomputes:
            saved, masks = kind.recomputed_activations(cfg), kind.recomputed_by_dropout(cfg)
        else:
            saved, masks = kind.saved_activations(cfg), kind.saved_by_dropout(cfg)
        saved += kind.saved_by_documents(cfg) if mask_documents else 0
    per_token = narrow * saved + (3 * wide + narrow) * vocab_size
    if runtime.device.type == "cpu":
        per_token += wide * masks
    weights = copies * wide * sum(counts.values())
    if narrow < wide:
        weights += narrow * without_tables(counts)
    return weights + batch_size * cfg.block_size * per_token
