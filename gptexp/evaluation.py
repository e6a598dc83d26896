"""Exact evaluation: every target of a split once, in order, without dropout."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptexp.data import Corpus
from gptexp.runtime import Runtime
from gptexp.tokenizers import Tokenizer


@dataclass(frozen=True)
class Evaluation:
    """Means over the targets of a split, or of its beginning."""

    loss: float  # nats per token
    bpb: float  # bits per byte of the text, which compares across tokenizers
    tokens: int


@torch.no_grad()
def evaluate(
    model: nn.Module,
    corpus: Corpus,
    tokenizer: Tokenizer,
    where: Runtime,
    split: str,
    batch_size: int,
    limit: int | None = None,
) -> Evaluation:
    """Over the first `limit` tokens of `split`, in windows that do not overlap.

    Draws nothing, so it leaves the training's random state alone. Windows are summed in float32
    and added up in float64, on the CPU since not every device has that. Waits for the device.
    """
    byte_lengths = torch.from_numpy(tokenizer.byte_lengths()).to(where.device)
    sums, byte_counts, tokens = [], [], 0
    was_training = model.training
    model.eval()
    for x, y in corpus.windows(split, batch_size, limit):
        with where.autocast():
            logits = model(x)
        sums.append(token_losses(logits, y).sum(dim=1))  # [windows]
        byte_counts.append(byte_lengths[y].sum())
        tokens += y.numel()
    model.train(was_training)
    nats = torch.cat(sums).cpu().double().sum().item()
    size = torch.stack(byte_counts).sum().item()
    return Evaluation(nats / tokens, nats / math.log(2) / size, tokens)


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of logits [batch, time, vocab] against targets [batch, time].

    In float32 at least, whatever the arithmetic of the model; shape [batch, time].
    """
    flat = logits.flatten(0, 1)
    flat = flat.float() if flat.dtype is not torch.float64 else flat
    return F.cross_entropy(flat, targets.flatten(), reduction="none").view(targets.shape)
