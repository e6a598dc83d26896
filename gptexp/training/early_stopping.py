"""The best validation loss so far, and whether to go on."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class EarlyStopping:
    """`best` is the strict minimum ever seen; patience counts evaluations without a real gain.

    A gain is real when it is above `min_delta`, measured from the loss of the last real gain, so
    that many small gains add up. NaN is never the best, and counts against patience.
    """

    patience: int  # evaluations
    min_delta: float  # nats per token
    best_loss: float = math.inf
    best_step: int = -1
    reference: float = math.inf  # the loss that reset patience last
    bad_evaluations: int = 0

    def update(self, val_loss: float, step: int) -> bool:
        """Take in one evaluation; returns whether it is the best so far."""
        if val_loss < self.reference - self.min_delta:
            self.reference = val_loss
            self.bad_evaluations = 0
        else:
            self.bad_evaluations += 1
        improved = val_loss < self.best_loss
        if improved:
            self.best_loss, self.best_step = val_loss, step
        return improved

    def renew(self) -> None:
        """Count patience anew, from the best loss so far."""
        self.reference, self.bad_evaluations = self.best_loss, 0

    @property
    def should_stop(self) -> bool:
        """Whether patience is at its end."""
        return self.bad_evaluations >= self.patience

    def state_dict(self) -> dict[str, float | int]:
        """All that a resume needs."""
        return {
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "reference": self.reference,
            "bad_evaluations": self.bad_evaluations,
        }

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """The inverse of state_dict."""
        self.best_loss = float(state["best_loss"])
        self.best_step = int(state["best_step"])
        self.reference = float(state["reference"])
        self.bad_evaluations = int(state["bad_evaluations"])
