"""Evaluation without dropout: every target of a split once, in order, or as many as a cap lets."""

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptexp.data.corpus import IGNORE_INDEX, Corpus
from gptexp.inference.loss import token_losses
from gptexp.runtime.device import Runtime
from gptexp.tokenizers.base import Tokenizer

CACHED_TOKENS = 1024  # of a thread: with more at once, activations leave the caches of a CPU

MOST_LOGITS = 2**26  # of a forward pass: a quarter of a gigabyte

UNREAD = 32  # passes after which a device is waited for


@dataclass(frozen=True)
class Evaluation:
    """Means over the targets of a split, or of a part of it."""

    loss: float  # nats per token
    bpb: float  # bits per byte of the text, which compares across tokenizers; NaN of bare ids
    stderr: float  # standard error of loss over the windows or documents, nats per token
    tokens: int

    @property
    def metrics(self) -> dict[str, float]:
        """The values that metrics.jsonl holds of the validation split, each under `val/`."""
        return {"loss": self.loss, "bpb": self.bpb, "stderr": self.stderr}


@dataclass(frozen=True)
class Evaluator:
    """Evaluates a model as it is at each call, over the splits of one corpus."""

    model: nn.Module
    corpus: Corpus
    tokenizer: Tokenizer
    runtime: Runtime
    batch_size: int  # windows or documents per forward pass, at most

    @torch.no_grad()
    def evaluate(self, split: str, limit: int | None = None, cap: int | None = None) -> Evaluation:
        """Evaluate the first `limit` tokens of `split`: windows that do not overlap, or documents.

        With a `cap`, those that stand at equal distances among them: see Corpus.windows.

        Draws nothing, so it leaves the training's random state alone. Windows are summed in the
        dtype of their losses and added up in float64, on the CPU since not every device has that.
        Waits for the device.
        """
        return self.mean(self.passes(split, limit, cap))

    def mean(self, passes: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        """The means over the targets of some passes: see evaluate."""
        byte_lengths = torch.from_numpy(self.tokenizer.byte_lengths()).to(self.runtime.device)
        byte_lengths = F.pad(byte_lengths, (0, 1))  # the last, 0, is that of IGNORE_INDEX
        sums, sizes, byte_counts = Column(), Column(), Column()  # each [windows]
        for logits, targets in passes:
            sums.add(token_losses(logits, targets).sum(dim=1))
            byte_counts.add(byte_lengths[targets].sum(dim=1))
            sizes.add((targets != IGNORE_INDEX).sum(dim=1))
            del logits  # before there are others: with many tokens they are most of the memory
        nats, counts = sums.whole(), sizes.whole().long()
        total, tokens = nats.sum().item(), int(counts.sum().item())
        size = byte_counts.whole().sum().item()  # 0 of bare ids, which stand for no text
        bpb = total / math.log(2) / size if size else math.nan
        return Evaluation(total / tokens, bpb, standard_error(nats, counts), tokens)

    @torch.no_grad()
    def each_loss(self, split: str) -> tuple[Tensor, Tensor]:
        """The loss of each target of `split`, in order [tokens], and targets of windows [windows].

        In nats; float64, on the CPU.
        """
        losses, sizes = Column(), Column()
        for logits, targets in self.passes(split):
            is_target = targets != IGNORE_INDEX
            losses.add(token_losses(logits, targets)[is_target])
            sizes.add(is_target.sum(dim=1))
            del logits
        return losses.whole(), sizes.whole().long()

    def passes(
        self, split: str, limit: int | None = None, cap: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The logits [windows, time, vocab] and targets [windows, time] of each forward pass.

        Between them the model is in evaluation mode.
        """
        was_training = self.model.training
        self.model.eval()
        rows = rows_at_once(
            self.batch_size, self.corpus.block_size, self.tokenizer.vocab_size, self.runtime
        )
        for inputs, targets in self.corpus.windows(split, rows, limit, cap):
            yield self._logits(inputs), targets  # which are not kept here
        self.model.train(was_training)

    def _logits(self, inputs: Tensor) -> Tensor:
        """Those of windows [windows, time]: [windows, time, vocab]."""
        with self.runtime.autocast():
            logits: Tensor = self.model(inputs)
        return logits

    def row(self, cap: int | None = None) -> dict[str, float]:
        """The evaluation of a line of metrics.jsonl, of each split over at most `cap` targets.

        The training loss is taken over as many tokens as validation has.
        """
        val = self.evaluate("val", cap=cap)
        train = self.evaluate("train", self.corpus.tokens_per_epoch("val"), cap)
        logged = {f"val/{name}": value for name, value in val.metrics.items()}
        return {"train/eval_loss": train.loss, **logged}


class Column:
    """Numbers of which each pass adds a few, on the host as one array.

    Small tensors that stay would lie in the places of the large ones of each pass, which the
    allocator could then not use again: 7 GB in an evaluation of 64 passes over GPT-2's vocabulary.
    """

    def __init__(self) -> None:
        self.numbers = array("d")
        self.unread: list[Tensor] = []

    def add(self, numbers: Tensor) -> None:
        """The next numbers, [any]; waits for the device now and then."""
        self.unread.append(numbers)
        if len(self.unread) == UNREAD or numbers.device.type == "cpu":  # which one never waits for
            self._read()

    def whole(self) -> Tensor:
        """All numbers, float64 [numbers], on the CPU; waits for the device."""
        self._read()
        return torch.tensor(self.numbers, dtype=torch.float64)

    def _read(self) -> None:
        if self.unread:
            self.numbers.extend(torch.cat(self.unread).tolist())
            self.unread.clear()


def rows_at_once(batch_size: int, block_size: int, vocab_size: int, runtime: Runtime) -> int:
    """The rows of a forward pass without gradients, at most `batch_size`, at least one.

    No more than have MOST_LOGITS, and on a CPU no more than its caches hold.
    """
    tokens = MOST_LOGITS // vocab_size
    if runtime.device.type == "cpu":
        tokens = min(tokens, CACHED_TOKENS * torch.get_num_threads())
    return min(batch_size, max(1, tokens // block_size))


def standard_error(sums: Tensor, sizes: Tensor) -> float:
    """The standard error of a mean per token, from sums and sizes [windows] of the windows.

    That of a ratio of means (Cochran 1977, Sampling Techniques, section 6.4): tokens of one window
    depend on each other, so the windows count and not the tokens. 0 for a single window.
    """
    windows, tokens = len(sums), sizes.sum().item()
    if windows < 2:
        return 0.0
    residuals = sums - sums.sum() / tokens * sizes
    return math.sqrt(windows / (windows - 1) * residuals.square().sum().item()) / tokens
