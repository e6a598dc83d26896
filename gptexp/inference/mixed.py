"""Evaluation over a mix: each part by itself, and their mean by the shares of training."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from gptexp.data.chat import ChatCorpus
from gptexp.data.corpus import Corpus
from gptexp.data.mix import MixCorpus
from gptexp.inference.answers import AnswerEvaluator
from gptexp.inference.evaluation import Evaluation, Evaluator
from gptexp.runtime.device import Runtime
from gptexp.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Mixed(Evaluation):
    """Means over the parts of a mix, each weighted by its share; `tokens` are those of all."""

    parts: Mapping[str, Evaluation]

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the whole, and the loss of each part under `loss/PART`."""
        return super().metrics | {f"loss/{name}": part.loss for name, part in self.parts.items()}


@dataclass(frozen=True)
class MixEvaluator(Evaluator):
    """Evaluates a model over each part of a mix."""

    corpus: MixCorpus

    def evaluate(self, split: str, limit: int | None = None, cap: int | None = None) -> Mixed:
        """As Evaluator.evaluate, of each part in its portion: see MixCorpus.portions."""
        parts = {
            name: self._of(name).evaluate(split, *portion)
            for name, *portion in self.corpus.portions(split, limit, cap)
        }
        return mean(parts, self.corpus.shares)

    def _of(self, name: str) -> Evaluator:
        corpus = self.corpus.parts[name]
        return Evaluator(self.model, corpus, self.tokenizer, self.runtime, self.batch_size)


def build_evaluator(
    model: nn.Module, corpus: Corpus, tokenizer: Tokenizer, runtime: Runtime, batch_size: int
) -> Evaluator:
    """What judges a model over a corpus, `batch_size` windows or documents at once at most."""
    if isinstance(corpus, ChatCorpus):
        return AnswerEvaluator(model, corpus, tokenizer, runtime, batch_size)
    if isinstance(corpus, MixCorpus):
        return MixEvaluator(model, corpus, tokenizer, runtime, batch_size)
    return Evaluator(model, corpus, tokenizer, runtime, batch_size)


def mean(parts: Mapping[str, Evaluation], shares: Mapping[str, float]) -> Mixed:
    """The evaluations of the parts of a mix as one.

    That is the loss to expect of a token drawn as those of training are. Bits per byte divide the
    bits of such a token by its bytes, and the errors of parts are independent.
    """

    def weighted(field: str) -> float:
        return sum(shares[name] * getattr(p, field) for name, p in parts.items() if shares[name])

    first = next(iter(parts.values()))
    means = {field.name: weighted(field.name) for field in dataclasses.fields(first)}
    # Bytes for each token; a loss of 0 does not say how many.
    sizes = {name: part.loss / part.bpb if part.bpb else math.nan for name, part in parts.items()}
    size = sum(shares[name] * sizes[name] for name in parts if shares[name])
    errors = [shares[name] * part.stderr for name, part in parts.items()]
    means |= {
        "tokens": sum(part.tokens for part in parts.values()),
        "bpb": means["loss"] / size,
        "stderr": math.hypot(*errors),
    }
    return Mixed(**means, parts=parts)  # type: ignore[arg-type]  # tokens is a whole number
