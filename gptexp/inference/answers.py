"""Evaluation over conversations: beside the loss, how many answers are right from end to end.

Greedy decoding takes the likeliest token each time, so it gives an answer, with its end, exactly
where each token of it is the likeliest behind those before: one pass over the conversation as it
stands in the file tells so of all its answers, without decoding any. What was said before a
question is taken from the file too, right answers among it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from gptexp.data.chat import ChatCorpus
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.inference.evaluation import Column, Evaluation, Evaluator


@dataclass(frozen=True)
class Answered(Evaluation):
    """Means over the targets of a split, and over its answers."""

    accuracy: float  # share of the answers that greedy decoding gives exactly
    answers: int

    @property
    def metrics(self) -> dict[str, float]:
        """Those of any split, and the accuracy."""
        return super().metrics | {"accuracy": self.accuracy}


@dataclass(frozen=True)
class AnswerEvaluator(Evaluator):
    """Evaluates a model over conversations."""

    corpus: ChatCorpus

    @torch.no_grad()
    def evaluate(self, split: str, limit: int | None = None, cap: int | None = None) -> Answered:
        """As Evaluator.evaluate, in the same passes, with the answers judged too."""
        right = Column()

        def watched() -> Iterator[tuple[Tensor, Tensor]]:
            for logits, targets in self.passes(split, limit, cap):
                right.add(answered_right(logits, targets, self.corpus.marks.end))
                yield logits, targets
                del logits  # as in `mean`, before there are others

        mean = self.mean(watched())
        every = right.whole()
        common = {field.name: getattr(mean, field.name) for field in fields(Evaluation)}
        return Answered(**common, accuracy=every.mean().item(), answers=len(every))


def answered_right(logits: Tensor, targets: Tensor, end: int) -> Tensor:
    """Whether each answer is what greedy decoding gives, [answers].

    Of logits [rows, time, vocab] and targets [rows, time], in which each answer ends with the token
    `end`; one whose end is cut off is none.
    """
    wrong = (logits.argmax(dim=-1) != targets) & (targets != IGNORE_INDEX)
    rows, places = (targets == end).nonzero(as_tuple=True)  # of the ends, row by row
    so_far = wrong.cumsum(dim=1)[rows, places]  # wrong tokens of the row up to each end
    before = torch.zeros_like(so_far)
    before[1:] = torch.where(rows[1:] == rows[:-1], so_far[:-1], 0)
    return so_far == before
