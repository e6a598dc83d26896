"""Exact evaluation: every target of a split once, in order, without dropout."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptexp.data.corpus import IGNORE_INDEX, Corpus
from gptexp.inference.loss import token_losses
from gptexp.runtime.device import Runtime
from gptexp.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Evaluation:
    """Means over the targets of a split, or of its beginning."""

    loss: float  # nats per token
    bpb: float  # bits per byte of the text, which compares across tokenizers
    stderr: float  # standard error of loss over the windows or documents, nats per token
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
    """Over the first `limit` tokens of `split`, in windows that do not overlap, or documents.

    Draws nothing, so it leaves the training's random state alone. Windows are summed in float32
    and added up in float64, on the CPU since not every device has that. Waits for the device.
    """
    byte_lengths = torch.from_numpy(tokenizer.byte_lengths()).to(where.device)
    byte_lengths = F.pad(byte_lengths, (0, 1))  # the last, 0, is that of NO_TARGET
    sums, sizes, byte_counts = [], [], []
    was_training = model.training
    model.eval()
    for x, y in corpus.windows(split, batch_size, limit):
        with where.autocast():
            logits = model(x)
        sums.append(token_losses(logits, y).sum(dim=1))  # [windows]
        byte_counts.append(byte_lengths[y].sum())
        sizes.append((y != IGNORE_INDEX).sum(dim=1))  # [windows]
    model.train(was_training)
    nats, targets = torch.cat(sums).cpu().double(), torch.cat(sizes).cpu()
    total, tokens = nats.sum().item(), int(targets.sum().item())
    bpb = total / math.log(2) / torch.stack(byte_counts).sum().item()
    return Evaluation(total / tokens, bpb, standard_error(nats, targets), tokens)


def standard_error(sums: Tensor, sizes: Tensor) -> float:
    """Of the mean per token, from sums [windows] over windows of `sizes` [windows] tokens.

    That of a ratio of means (Cochran 1977, Sampling Techniques, section 6.4): tokens of one window
    depend on each other, so the windows count and not the tokens. 0 for a single window.
    """
    windows, tokens = len(sums), sizes.sum().item()
    if windows < 2:
        return 0.0
    residuals = sums - sums.sum() / tokens * sizes
    return math.sqrt(windows / (windows - 1) * residuals.square().sum().item()) / tokens
