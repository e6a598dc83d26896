"""How fast a text is drawn up to its context, with a cache of keys and values and without one."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks import sides
from benchmarks.table import Row, over
from gptexp.inference.dials import Sampling
from gptexp.inference.generate import generate
from gptexp.models.base import Model
from gptexp.models.build import build_model

TEXTS = (1, 16)  # drawn side by side


class Whole(Model):
    """A model without its cache."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.cfg, model.vocab_size)
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids)
        return logits

    def init_weights(self, generator: torch.Generator) -> None:
        """It has those of the model."""


def sample(overrides: list[str], rounds: int) -> Iterator[Row]:
    """Tokens a second of as many as the context has, from the first weights of the model."""
    config = sides.settings([*overrides, "logger=none"])
    inputs = sides.read(config)
    model = build_model(config.model, inputs.tokenizer.vocab_size, 0).to(inputs.runtime.device)
    prompt = torch.zeros(1, dtype=torch.long, device=inputs.runtime.device)
    tokens, sampling = config.model.block_size, Sampling(1.0, None, 0)
    for num in TEXTS:
        asked = ([prompt], tokens, tokens, sampling, num)
        found = {"cached": model, "uncached": Whole(model)}
        work = {name: partial(generate, side, *asked) for name, side in found.items()}
        took = sides.turns(work, rounds, inputs.runtime)
        kind = f"{num} text{'s' if num > 1 else ''} of {tokens}"
        for name, values in took.items():
            rates = [num * tokens / each for each in values]
            yield Row(f"{kind}, {name}", rates, "tokens/s", more=True)
        yield Row(f"{kind}: the cache, times", over(took["uncached"], took["cached"]), more=True)
