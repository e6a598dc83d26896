"""The cross-entropy of each token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.data.corpus import IGNORE_INDEX

AT_ONCE = 2**24  # logits of which losses are made at once, where no gradient is wanted: 67 MB


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of logits [batch, time, vocab] against targets [batch, time].

    In float32 at least, whatever the arithmetic of the model; shape [batch, time], and 0 where
    there is no target. Without gradients the rows go through a few at a time, to the same bits:
    the logarithms of their probabilities take as much memory as the logits.
    """
    if torch.is_grad_enabled() or logits.numel() <= AT_ONCE:
        return _losses(logits, targets)
    rows = max(1, AT_ONCE // logits[0].numel())
    parts = zip(logits.split(rows), targets.split(rows), strict=True)
    return torch.cat([_losses(*part) for part in parts])


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    flat = logits.flatten(0, 1)
    flat = flat.float() if flat.dtype is not torch.float64 else flat
    losses = F.cross_entropy(flat, targets.flatten(), reduction="none", ignore_index=IGNORE_INDEX)
    return losses.view(targets.shape)
