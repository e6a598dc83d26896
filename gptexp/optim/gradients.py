"""Gradients: clipped to a global norm, and watched lest they explode."""

import logging
import statistics
from collections import deque
from collections.abc import Sequence

from torch import Tensor, nn

from gptexp.errors import Problem

log = logging.getLogger(__name__)

EXPLODED = 20  # times the usual norm; runs that learn well stay within a few times it

RECENT = 100  # log lines whose median is the usual norm

ENOUGH = 5  # log lines, before which nothing is usual


def clip(parameters: Sequence[nn.Parameter], grad_clip: float) -> Tensor:
    """Scale the gradients down to a global norm of `grad_clip`, 0 for any; returns that before."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if hasattr(norm, "full_tensor"):  # of shards: the norm over those of all ranks
        norm = norm.full_tensor()
    if grad_clip > 0:
        nn.utils.clip_grads_with_norm_(parameters, grad_clip, norm)
    return norm


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
                what = f"gradient norm {norm:.3g}, where {usual:.3g} is usual"
                log.warning("%s", Problem(f"step {step}", what, self.remedy))
        self.norms.append(norm)
