"""A warning when gradients explode though they are still finite."""

import logging
import statistics
from collections import deque

log = logging.getLogger(__name__)

EXPLODED = 20  # times the usual norm; runs that learn well stay within a few times it
RECENT = 100  # log lines whose median is the usual norm
ENOUGH = 5  # log lines, before which nothing is usual


class NormWatch:
    """Knows the gradient norms of the last log lines. A resumed run gets to know them anew.

    A checkpoint need not carry them, since they move no weight and no metric: all that a resume
    can cost is a second warning, or one that waits for ENOUGH lines.
    """

    def __init__(self, lr: float, grad_clip: float) -> None:
        clip = "" if 0 < grad_clip <= 1 else ", or clip with trainer.grad_clip=1.0"
        self.remedy = f"lower optim.lr, now {lr:g}{clip}"
        self.norms: deque[float] = deque(maxlen=RECENT)
        self.warned = False

    def see(self, step: int, norm: float) -> None:
        """Take in the norm of a log line, before clipping; warn of the first that is far above."""
        if len(self.norms) >= ENOUGH and not self.warned:
            usual = statistics.median(self.norms)
            if norm > EXPLODED * usual:
                self.warned = True
                log.warning(
                    "step %d: gradient norm %.3g, where %.3g is usual. Fix: %s",
                    step,
                    norm,
                    usual,
                    self.remedy,
                )
        self.norms.append(norm)
