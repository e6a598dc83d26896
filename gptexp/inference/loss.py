"""The cross-entropy of each token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gptexp.data.corpus import IGNORE_INDEX

AT_ONCE = 2**24  # logits of which losses are made at once, where no gradient is wanted: 67 MB


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of logits [batch, time, vocab] against targets [batch, time].

    In float32 at least, whatever the arithmetic of the model; shape [batch, time], and 0 where
    there is no target. Without gradients a few tokens at a time go through, to the same bits: the
    logarithms of their probabilities take as much memory as the logits.
    """
    flat, wanted = logits.flatten(0, 1), targets.flatten()
    if torch.is_grad_enabled() or flat.numel() <= AT_ONCE:
        return _losses(flat, wanted).view(targets.shape)
    few = max(1, AT_ONCE // flat.shape[1])
    parts = zip(flat.split(few), wanted.split(few), strict=True)
    return torch.cat([_losses(*part) for part in parts]).view(targets.shape)


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The same of logits [tokens, vocab] against targets [tokens]."""
    logits = logits.float() if logits.dtype is not torch.float64 else logits
    return F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORE_INDEX)
