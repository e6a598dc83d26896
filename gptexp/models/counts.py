"""What a model has and costs: parameters, FLOPs, memory."""

from gptexp.config import BigramConfig, GPTConfig, MLPConfig, ModelConfig
from gptexp.models.gpt import activations, gpt_flops, gpt_parameters


def count_parameters(cfg: ModelConfig, vocab_size: int) -> dict[str, int]:
    """Parameters by component, from the config alone."""
    match cfg:
        case GPTConfig():
            return gpt_parameters(cfg, vocab_size)
        case MLPConfig():
            return {
                "token table": vocab_size * cfg.n_embd,
                "mlp": cfg.context * cfg.n_embd * cfg.n_hidden,
                "head": cfg.n_hidden * vocab_size,
            }
        case BigramConfig():
            return {"counts": vocab_size**2}
    raise TypeError(f"no network for {type(cfg).__name__}")


def without_tables(counts: dict[str, int]) -> int:
    """The parameters but for those of the tables that look tokens and positions up."""
    return sum(counts.values()) - counts.get("token table", 0) - counts.get("position table", 0)


def flops_per_token(cfg: ModelConfig, vocab_size: int) -> int:
    """Floating-point operations per trained token, forward and backward.

    6 per weight of a matrix product (2 forward, 4 backward), and what the GPT's attention adds.
    Counts are looked up and added to: vocab_size each way.
    """
    match cfg:
        case GPTConfig():
            return gpt_flops(cfg, vocab_size)
        case MLPConfig():
            counts = count_parameters(cfg, vocab_size)
            return 6 * (counts["mlp"] + counts["head"])
        case BigramConfig():
            return 2 * vocab_size
    raise TypeError(f"no network for {type(cfg).__name__}")


def training_memory(cfg: ModelConfig, vocab_size: int, batch_size: int) -> int:
    """Bytes that training in float32 needs at least, an estimate.

    Weights, gradients and two moments; per token what the backward pass reads again; logits and
    their gradient.
    """
    weights = sum(count_parameters(cfg, vocab_size).values())
    match cfg:
        case GPTConfig():
            kept = activations(cfg)
        case MLPConfig():
            kept = cfg.context * cfg.n_embd + 2 * cfg.n_hidden
        case _:
            kept = 0
    return 4 * (4 * weights + batch_size * cfg.block_size * (kept + 2 * vocab_size))
