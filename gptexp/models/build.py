"""The network that a config names: built, counted, and what it costs."""

import torch

from gptexp.config import BigramConfig, GPTConfig, MLPConfig, ModelConfig
from gptexp.models.bigram import Bigram
from gptexp.models.counts import count_parameters
from gptexp.models.gpt import GPT
from gptexp.models.mlp import MLP

Model = GPT | MLP | Bigram


def construct(cfg: ModelConfig, vocab_size: int) -> Model:
    """The network with whatever torch fills it with: for weights that are there already."""
    match cfg:
        case GPTConfig():
            return GPT(cfg, vocab_size)
        case MLPConfig():
            return MLP(cfg, vocab_size)
        case BigramConfig():
            return Bigram(cfg, vocab_size)
    raise TypeError(f"no network for {type(cfg).__name__}")


def build_model(cfg: ModelConfig, vocab_size: int, seed: int) -> Model:
    """A freshly initialised network on the CPU, the same for the same seed."""
    network = construct(cfg, vocab_size)
    network.initialise(torch.Generator().manual_seed(seed))
    actual = sum(parameter.numel() for parameter in network.parameters())
    assert actual == sum(count_parameters(cfg, vocab_size).values())
    return network
