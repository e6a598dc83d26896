"""What a trainer is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gptexp.data.corpus import Corpus
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.generate import Sampler
from gptexp.models.base import Model
from gptexp.optim.averages import Averages
from gptexp.optim.schedule import Schedule
from gptexp.runs.checkpoint import Store
from gptexp.runtime.device import Runtime
from gptexp.runtime.distributed import ALONE, Ranks
from gptexp.tracking.tracker import Tracker
from gptexp.training.moments import Moments

# Told of step and validation loss of an evaluation: whether the run is to be given up
ShouldPrune = Callable[[int, float], bool]


@dataclass(frozen=True)
class TrainerParts:
    """The parts of a trainer, each built by its owner."""

    model: Model
    corpus: Corpus
    optimizer: torch.optim.Optimizer
    schedule: Schedule  # of the learning rate, as a share of its peak
    peak_lr: float
    flops_per_token: int  # forward and backward
    runtime: Runtime
    evaluator: Evaluator
    sampler: Sampler
    store: Store
    tracker: Tracker
    identity: dict[str, Any]  # config, its hash and tokenizer: with them a checkpoint is sufficient
    averages: Averages = field(default_factory=Averages)  # of the weights
    moments: Moments = field(default_factory=Moments)  # own code
    should_prune: ShouldPrune | None = None  # of the search that the run is a trial of
    ranks: Ranks = ALONE
    shards: Model | None = None  # what is trained, where ranks shard; `model` is then a copy

    @property
    def trained(self) -> Model:
        """The model whose weights the optimizer moves."""
        return self.model if self.shards is None else self.shards
