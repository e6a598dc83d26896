"""The model that a config names."""

import torch

from gptexp.config import BigramConfig, GPTConfig, MLPConfig, ModelConfig
from gptexp.models.base import Model
from gptexp.models.bigram import Bigram
from gptexp.models.gpt import GPT
from gptexp.models.mlp import MLP


def model_class(cfg: ModelConfig) -> type[Model]:
    """The class that the variant of the config is for."""
    match cfg:
        case GPTConfig():
            return GPT
        case MLPConfig():
            return MLP
        case BigramConfig():
            return Bigram
    raise TypeError(f"no model for {type(cfg).__name__}")


def construct(cfg: ModelConfig, vocab_size: int) -> Model:
    """The model with whatever torch fills it with: for weights that are there already."""
    return model_class(cfg)(cfg, vocab_size)


def build_model(cfg: ModelConfig, vocab_size: int, seed: int) -> Model:
    """A freshly initialised model on the CPU, the same for the same seed."""
    model = construct(cfg, vocab_size)
    model.init_weights(torch.Generator().manual_seed(seed))
    actual = sum(parameter.numel() for parameter in model.parameters())
    assert actual == sum(model.count_parameters(cfg, vocab_size).values())
    return model
