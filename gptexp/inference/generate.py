"""Generation: a prompt continued, token by token."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from gptexp.config import MOST_TEXTS, TrainerConfig
from gptexp.data.corpus import Format
from gptexp.errors import Problem
from gptexp.inference.probe import Probe, probe_model
from gptexp.runs.journal import Sample
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer

COLDEST = 1e-30  # a lower temperature is as good as 0, which float32 makes of the least of them


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float  # 0 takes the likeliest token each time
    top_k: int | None  # draw among the k likeliest alone, or None for all
    seed: int

    def problems(self, tokens: int, num: int) -> Iterator[Problem]:
        """Yield what is out of its range, for `num` texts of so many tokens."""
        counts = {"tokens": tokens, "num": num, "top-k": 1 if self.top_k is None else self.top_k}
        for name, value in counts.items():
            if not _is_a(Integral, value):
                yield Problem(name, f"{value!r} is no whole number", f"{name} of 1 or more")
            elif value < 1:
                yield Problem(name, f"{value} is below 1", f"{name} of 1 or more")
            elif name != "num" and value >= 2**63:
                yield Problem(name, f"{value} is not below 2^63", f"{name} below that")
        if _is_a(Integral, num) and num > MOST_TEXTS:
            yield Problem("num", f"{num} is more than are drawn at once", f"{MOST_TEXTS} at most")
        if not (_is_a(Real, self.temperature) and 0 <= self.temperature < math.inf):
            what = f"{self.temperature!r} is not a finite number of at least 0"
            yield Problem("temperature", what, "0.8")
        if not (_is_a(Integral, self.seed) and 0 <= self.seed < 2**63):
            yield Problem("seed", f"{self.seed!r} is not in [0, 2^63)", "a seed of 0, for one")


def _is_a(kind: type, value: object) -> bool:
    """Whether it is such a number; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


@torch.no_grad()
def generate(
    model: nn.Module,
    prompt: Tensor,
    tokens: int,
    block_size: int,
    sampling: Sampling,
    end: int | None = None,
) -> list[list[int]]:
    """Continue each row of `prompt` [batch, time]; returns the new tokens of each row.

    The context is cropped to its last `block_size` tokens. A row ends before the token `end`, where
    there is one; such a sample is at most as long as the context, since the model never saw the
    inside of one without its beginning. Draws come from their own generator on the CPU, so that
    neither the device nor the training's random state has a part in them.
    """
    if end is not None:
        tokens = min(tokens, block_size + 1 - prompt.shape[1])
    generator = torch.Generator().manual_seed(int(sampling.seed))
    was_training = model.training
    model.eval()
    ids = prompt
    stopped = torch.zeros(len(prompt), dtype=torch.bool)
    for _ in range(tokens):
        if stopped.all():
            break
        logits = model(ids[:, -block_size:])[:, -1]  # [batch, vocab]
        following = choose(logits.float().cpu(), sampling, generator)
        ids = torch.cat([ids, following.to(ids.device)], dim=1)
        if end is not None:
            stopped |= following[:, 0] == end
    model.train(was_training)
    rows = ids[:, prompt.shape[1] :].tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One token for each row of `logits` [batch, vocab]: [batch, 1].

    Temperature 0 is greedy. `top_k` leaves exactly the k highest logits in the draw.
    """
    if sampling.temperature < COLDEST:
        return logits.argmax(dim=-1, keepdim=True)
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        highest, index = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, index, highest)
    # The highest logit becomes 0 first, so that a small temperature cannot overflow.
    scaled = (logits - logits.max(dim=-1, keepdim=True).values) / sampling.temperature
    return torch.multinomial(scaled.softmax(dim=-1), 1, generator=generator)


@dataclass(frozen=True)
class Sampler:
    """Draws the samples of a run as its config wants them."""

    model: nn.Module
    tokenizer: Tokenizer
    format: Format
    block_size: int
    cfg: TrainerConfig
    seed: int  # of the run

    def draw(self, step: int) -> tuple[Sample, Probe]:
        """A text from nothing but the format's prompt, and how the model reads it.

        Where samples end by themselves, the text is several, of which the first is read.
        """
        cfg, tokenizer = self.cfg, self.tokenizer
        end = self.format.end(tokenizer)
        prompt = torch.from_numpy(self.format.prompt(None, tokenizer))
        prompt = prompt.to(next(self.model.parameters()).device)
        seed = stream_seed(self.seed, "sample", step)
        sampling = Sampling(cfg.sample_temperature, cfg.sample_top_k, seed)
        prompts = prompt.repeat(1 if end is None else cfg.sample_documents, 1)
        rows = generate(self.model, prompts, cfg.sample_tokens, self.block_size, sampling, end)
        text = self.format.join([tokenizer.decode(row) for row in rows])
        sample = Sample(step, tokenizer.decode(prompt.tolist()), text=text, **asdict(sampling))
        new = torch.tensor(rows[0], dtype=prompt.dtype, device=prompt.device)
        # The ids as they were drawn: bytes that are no UTF-8 have no text.
        read = torch.cat([prompt, new])[: self.block_size]
        return sample, probe_model(self.model, tokenizer, read, step)
