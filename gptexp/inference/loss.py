"""The cross-entropy of each token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.data.corpus import IGNORE_INDEX


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of logits [batch, time, vocab] against targets [batch, time].

    In float32 at least, whatever the arithmetic of the model; shape [batch, time], and 0 where
    there is no target.
    """
    flat = logits.flatten(0, 1)
    flat = flat.float() if flat.dtype is not torch.float64 else flat
    losses = F.cross_entropy(flat, targets.flatten(), reduction="none", ignore_index=IGNORE_INDEX)
    return losses.view(targets.shape)
