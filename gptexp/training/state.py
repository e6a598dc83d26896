"""What training moves: all of it that a resume needs, to a checkpoint and back."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptexp.errors import CheckpointError, Problem
from gptexp.optim.build import load_optimizer
from gptexp.runs.checkpoint import State
from gptexp.runtime.clock import Clock
from gptexp.runtime.random import rng_state, seed_dropout, set_rng_state
from gptexp.runtime.shards import shards_of, shards_of_moments, whole
from gptexp.training.early_stopping import EarlyStopping
from gptexp.training.loss_scale import LossScale
from gptexp.training.parts import TrainerParts


@dataclass
class TrainState:
    """The state of a run between two updates; batches are functions of the step."""

    parts: TrainerParts
    seed: int
    stop: EarlyStopping
    scale: LossScale
    clock: Clock
    step: int = 0  # updates done
    loss_count: int = 0  # updates since a line of the training loss
    loss_sum: Tensor = field(init=False)  # of their losses, on the device

    def __post_init__(self) -> None:
        runtime = self.parts.runtime
        self.loss_sum = torch.zeros((), device=runtime.device, dtype=runtime.weights)

    def state_dict(self) -> State:
        """All that a resume needs but the corpus; the first rank's, for which all must ask."""
        parts, ranks = self.parts, self.parts.ranks
        averages = parts.averages.state_dict(self.step)
        rng = rng_state(parts.runtime.device)
        return {
            **parts.identity,
            **({"averages": averages} if averages else {}),
            "step": self.step,
            "seconds": self.clock.seconds(),
            "model": self._gathered(parts.trained.state_dict()),
            "optimizer": self._gathered(parts.optimizer.state_dict()),
            **({"loss_scale": self.scale.state_dict()} if self.scale.on else {}),
            "stop": self.stop.state_dict(),
            "rng": rng,
            **({"rng_of_ranks": ranks.gather(rng)} if ranks.several else {}),
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }

    def load_state_dict(self, state: State) -> None:
        """The inverse of state_dict; raises CheckpointError."""
        parts = self.parts
        try:
            optimizer, weights = state["optimizer"], state["model"]
            if parts.shards is not None:
                optimizer = shards_of_moments(optimizer, parts.optimizer)
                weights = shards_of(weights, parts.shards)
            load_optimizer(parts.optimizer, optimizer)
            self.scale.load_state_dict(state.get("loss_scale", {}))  # an old one has none
            self.step = state["step"]
            self.clock.before = state["seconds"]
            parts.trained.load_state_dict(weights)
            parts.averages.load_state_dict(state.get("averages", {}), self.step)
            self.stop.load_state_dict(state["stop"])
            self._take_up_streams(state)
            self.loss_sum = state["loss_sum"].to(parts.runtime.device, self.loss_sum.dtype)
            self.loss_count = state["loss_count"]
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            what = f"the parts of a checkpoint do not fit together: {reason}"
            problem = Problem(parts.store.folder, what, "rerun=true to train anew")
            raise CheckpointError(problem) from error

    def refresh(self) -> None:
        """Have the copy that rank 0 evaluates and samples the weights as they are, of shards."""
        if self.parts.shards is not None:
            weights = self._gathered(self.parts.shards.state_dict())
            if self.parts.ranks.is_main:
                self.parts.model.load_state_dict(weights)

    def seed_streams(self) -> None:
        """Begin the random numbers of this rank; those of each but the first also by the step."""
        ranks = self.parts.ranks
        seed_dropout(self.seed, *(() if ranks.is_main else (ranks.rank, self.step)))

    def _take_up_streams(self, state: State) -> None:
        """The random state of a checkpoint: of this rank, where there were as many, or the first.

        Another one begins a stream of its own.
        """
        ranks = self.parts.ranks
        of_ranks = state.get("rng_of_ranks", [state["rng"]])
        if len(of_ranks) == ranks.size or ranks.is_main:
            set_rng_state(of_ranks[ranks.rank], self.parts.runtime.device)
        else:
            self.seed_streams()

    def _gathered(self, state: State) -> State:
        """A state of weights or moments, whole on rank 0 where each rank has shards of it."""
        return state if self.parts.shards is None else whole(state, self.parts.ranks.is_main)
