"""How a token is drawn: the dials, their ranges, and the order in which they act."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor

from gptexp.config import MOST_TEXTS
from gptexp.errors import CheckpointError, Problem

COLDEST = 1e-30  # a lower temperature is as good as 0, which float32 makes of the least of them
LEAST = 1e-30  # of a top-p, which is as good as a lower one

STRONGEST = 10  # a repetition penalty; the weakest is one over it


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, and where a text ends; see `probabilities`."""

    temperature: float  # 0 takes the likeliest token each time
    top_k: int | None  # draw among the k likeliest alone, or None for all
    seed: int
    top_p: float = 1.0  # among the likeliest whose probabilities come to p
    min_p: float = 0.0  # among those at least p times as likely as the likeliest
    repetition_penalty: float = 1.0  # above 1, tokens that the context has are less likely
    stop: tuple[str, ...] = ()  # a text ends before any of these

    def problems(self, tokens: int, num: int, prompts: int = 1) -> Iterator[Problem]:
        """Yield what is out of its range, for `num` texts of so many tokens of each prompt."""
        counts = {"tokens": tokens, "num": num, "top-k": 1 if self.top_k is None else self.top_k}
        for name, value in counts.items():
            if not _is_a(Integral, value):
                yield Problem(name, f"{value!r} is no whole number", f"{name} of 1 or more")
            elif value < 1:
                yield Problem(name, f"{value} is below 1", f"{name} of 1 or more")
            elif name != "num" and value >= 2**63:
                yield Problem(name, f"{value} is not below 2^63", f"{name} below that")
        if _is_a(Integral, num) and num * prompts > MOST_TEXTS:
            what = f"{num * prompts} is more than are drawn at once"
            yield Problem("num", what, f"{MOST_TEXTS} at most")
        if not (_is_a(Real, self.temperature) and 0 <= self.temperature < math.inf):
            what = f"{self.temperature!r} is not a finite number of at least 0"
            yield Problem("temperature", what, "0.8")
        if not (_is_a(Integral, self.seed) and 0 <= self.seed < 2**63):
            yield Problem("seed", f"{self.seed!r} is not in [0, 2^63)", "a seed of 0, for one")
        if not (_is_a(Real, self.top_p) and 0 < self.top_p <= 1):
            yield Problem("top-p", f"{self.top_p!r} is not in (0, 1]", "0.9; 1 leaves all in")
        if not (_is_a(Real, self.min_p) and 0 <= self.min_p <= 1):
            yield Problem("min-p", f"{self.min_p!r} is not in [0, 1]", "0.05; 0 leaves all in")
        penalty = self.repetition_penalty
        if not (_is_a(Real, penalty) and 1 / STRONGEST <= penalty <= STRONGEST):
            what = f"{penalty!r} is not in [{1 / STRONGEST:g}, {STRONGEST}]"
            yield Problem("repetition-penalty", what, "1.2; 1 is none")
        if "" in self.stop:
            yield Problem("stop", "a text would end before it began", "one character or more")


def _is_a(kind: type, value: object) -> bool:
    """Whether it is such a number; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def penalised(logits: Tensor, context: Tensor, penalty: float, spared: int | None) -> Tensor:
    """Logits [batch, vocab] in which the tokens of `context` [batch, time] are less likely.

    CTRL's penalty (Keskar et al. 2019, section 4.1) on what the model reads, the prompt included:
    the logit x of such a token becomes x / penalty, and below 0, where that would raise it,
    x * penalty. The token `spared`, which ends a document and is no text, keeps its own.
    """
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, context, True)
    if spared is not None:
        seen[:, spared] = False
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One token for each row of `logits` [batch, vocab], already penalised: [batch, 1].

    Raises CheckpointError for logits that give no probabilities.
    """
    if sampling.temperature < COLDEST:
        return logits.argmax(dim=-1, keepdim=True)
    chances = probabilities(logits, sampling)
    if chances.isnan().any():
        what = "its logits are not finite, so no token can be drawn"
        raise CheckpointError(Problem("model", what, "use another checkpoint"))
    return torch.multinomial(chances, 1, generator=generator)


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Of each token in the draw, by `logits` [batch, vocab] that are penalised: [batch, vocab].

    Temperature 0 is greedy. Else the dials act in this order, each on what the ones before left:

    1. `top_k` leaves exactly the k highest logits in the draw;
    2. logits are divided by the temperature, and their softmax is the probabilities;
    3. `top_p` leaves the fewest of the likeliest tokens whose probabilities come to at least p
       (Holtzman et al. 2020), which the one that reaches p is among;
    4. `min_p` leaves those at least p times as likely as the likeliest (Nguyen et al. 2024).
    """
    if sampling.temperature < COLDEST:
        highest = logits.argmax(dim=-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, highest, 1.0)
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        highest, index = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, index, highest)
    # The highest logit becomes 0 first, so that a small temperature cannot overflow.
    scaled = (logits - logits.max(dim=-1, keepdim=True).values) / float(sampling.temperature)
    if sampling.top_p < 1:
        scaled = _nucleus(scaled, float(sampling.top_p))
    if sampling.min_p > 0:
        scaled = scaled.masked_fill(scaled < math.log(sampling.min_p), -torch.inf)
    return scaled.softmax(dim=-1)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """The logits [batch, vocab] of the likeliest tokens that come to top_p; -inf for others."""
    ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    likelier = probabilities.cumsum(dim=-1) - probabilities  # what those before a token come to
    # What float32 rounds to 0 would leave none, not even the likeliest.
    kept = ordered.masked_fill(likelier >= max(top_p, LEAST), -torch.inf)
    return torch.empty_like(logits).scatter(-1, index, kept)
