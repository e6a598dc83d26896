"""The model that a config names."""

import torch

from gptexp import plugins
from gptexp.config import BigramConfig, GPTConfig, MLPConfig, ModelConfig
from gptexp.errors import ConfigError, Problem
from gptexp.models.base import Model
from gptexp.models.bigram import Bigram
from gptexp.models.gpt import GPT
from gptexp.models.mlp import MLP
from gptexp.plugins import Plugin


def model_class(cfg: ModelConfig) -> type[Model]:
    """The class that the variant of the config is for; raises ConfigError for an own one."""
    if (plugin := plugins.own(cfg)) is not None:
        return _own_class(plugin)
    match cfg:
        case GPTConfig():
            return GPT
        case MLPConfig():
            return MLP
        case BigramConfig():
            return Bigram
    raise TypeError(f"no model for {type(cfg).__name__}")


def _own_class(plugin: Plugin) -> type[Model]:
    if not (isinstance(plugin.call, type) and issubclass(plugin.call, Model)):
        what, fix = f"{plugin.call!r} is no model", "a subclass of gptexp.models.base.Model"
        raise ConfigError(Problem(str(plugin), what, fix))
    return plugin.call


def construct(cfg: ModelConfig, vocab_size: int) -> Model:
    """The model with whatever torch fills it with: for weights that are there already."""
    with plugins.running(plugins.own(cfg)):
        return model_class(cfg)(cfg, vocab_size)


def build_model(cfg: ModelConfig, vocab_size: int, seed: int) -> Model:
    """A freshly initialised model on the CPU, the same for the same seed."""
    model = construct(cfg, vocab_size)
    with plugins.running(plugins.own(cfg)):
        model.init_weights(torch.Generator().manual_seed(seed))
        actual = sum(parameter.numel() for parameter in model.parameters())
        counted = sum(model.count_parameters(cfg, vocab_size).values())
        assert actual == counted, f"count_parameters says {counted:,}, and there are {actual:,}"
    return model
