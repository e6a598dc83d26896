"""Generation: prompts continued side by side, token by token."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor

from gptexp.config import TrainerConfig
from gptexp.data.corpus import Format, Ids
from gptexp.data.load import LoadedCorpus
from gptexp.inference.dials import Sampling, choose, penalised
from gptexp.inference.probe import Probe, probe_model
from gptexp.models.base import Model
from gptexp.models.hooks import in_eval_mode
from gptexp.runs.journal import Sample
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer


def generate(
    model: Model,
    prompts: Sequence[Tensor],
    tokens: int,
    block_size: int,
    sampling: Sampling,
    num: int = 1,
    end: int | None = None,
    crossed: bool = False,
) -> list[list[int]]:
    """The new tokens of `num` texts of each prompt [time], one prompt after another: see `draw`."""
    rows: list[list[int]] = [[] for _ in range(len(prompts) * num)]
    asked = (model, prompts, tokens, block_size, sampling, num, end, set[int](), crossed)
    for row, token in draw(*asked):
        if token is not None:
            rows[row].append(token)
    return rows


@torch.no_grad()
def draw(
    model: Model,
    prompts: Sequence[Tensor],
    tokens: int,
    block_size: int,
    sampling: Sampling,
    num: int,
    end: int | None,
    over: set[int],
    crossed: bool = False,
) -> Iterator[tuple[int, int | None]]:
    """Continue `num` rows of each prompt [time]; yields row and token, and None as its last one.

    The context is cropped to its last `block_size` tokens. A row ends before the token `end`, where
    there is one; such a sample is at most as long as the context, since the model never saw the
    inside of one without its beginning, unless `end` may be `crossed` by contexts. A row that the
    caller adds to `over` ends there.

    Draws come from generators on the CPU, so that neither the device nor the training's random
    state has a part in them. Each prompt has one of its own, from the same seed, so its texts are
    those that it has alone, but for the rounding of a model that reads more rows at once.
    """
    most = math.inf if end is None or crossed else block_size + 1
    parts = [slice(start, start + num) for start in range(0, len(prompts) * num, num)]
    generators = [torch.Generator().manual_seed(int(sampling.seed)) for _ in prompts]
    time = min(map(len, prompts))
    ids = torch.stack([prompt[:time] for prompt in prompts])
    ids = ids.repeat_interleave(num, dim=0)  # [rows, time]
    read = _Reader(model, block_size, len(ids))
    with in_eval_mode(model):
        while len(over) < len(ids):
            logits = read(ids, over)  # [rows, vocab]
            if sampling.repetition_penalty != 1:
                context = ids[:, -block_size:].cpu()
                penalty = float(sampling.repetition_penalty)
                logits = penalised(logits, context, penalty, end)
            following = torch.empty(len(ids), dtype=ids.dtype)
            for prompt, part, generator in zip(prompts, parts, generators, strict=True):
                # All rows are read from their beginning; the rest of a longer prompt is not drawn.
                drawn = time >= len(prompt)
                following[part] = (
                    choose(logits[part], sampling, generator)[:, 0] if drawn else prompt[time]
                )
            for row, token in enumerate(following.tolist()):
                length = len(prompts[row // num])
                if row in over or time < length:
                    continue
                if token != end:
                    yield row, token
                if row not in over and (token == end or time + 1 >= min(length + tokens, most)):
                    over.add(row)
                    yield row, None
            ids = torch.cat([ids, following[:, None].to(ids.device)], dim=1)
            time += 1


class _Reader:
    """A model over rows that grow token by token, on the CPU in float32.

    Where the model has a cache of keys and values, it reads each token once, as long as the context
    holds all of them. Behind that the context moves by one with each token, and with it every
    position, so it is read whole.
    """

    def __init__(self, model: Model, block_size: int, rows: int) -> None:
        self.model, self.block_size = model, block_size
        takes_one = "cache" in signature(model.forward).parameters  # that of an own GPT may not
        self.cache = model.new_cache() if takes_one else None
        self.rows = torch.arange(rows)  # those that are read

    def __call__(self, ids: Tensor, over: Collection[int]) -> Tensor:
        """The logits of what follows `ids` [rows, time], [rows, vocab].

        Once half of the rows are `over`, their logits are 0, and only the others are read.
        """
        if 2 * (len(ids) - len(over)) <= len(self.rows):
            kept = torch.tensor([row not in over for row in self.rows.tolist()]).nonzero()[:, 0]
            self.rows = self.rows[kept]
            if self.cache is not None:
                self.cache.keep_rows(kept.to(ids.device))
        read = ids[self.rows.to(ids.device)]
        if ids.shape[1] > self.block_size:
            self.cache = None
        if self.cache is None:
            logits = self.model(read[:, -self.block_size :])[:, -1]
        else:
            logits = self.model(read[:, self.cache.length :], self.cache)[:, -1]
        padded = torch.zeros(len(ids), logits.shape[-1])
        padded[self.rows] = logits.float().cpu()
        return padded


@dataclass(frozen=True)
class Sampler:
    """Draws the samples of a run as its config wants them."""

    model: Model
    tokenizer: Tokenizer
    format: Format
    block_size: int
    cfg: TrainerConfig
    seed: int  # of the run
    questions: Sequence[Ids] = ()  # that samples answer; where there are none they begin themselves

    def draw(self, step: int) -> tuple[Sample, Probe]:
        """A text from nothing but the format's prompt, and how the model reads it.

        Of documents, or answers to questions, the text is several, of which the first is read.
        """
        cfg, tokenizer, asked = self.cfg, self.tokenizer, self.questions
        end, stop = self.format.end(tokenizer), self.format.stop(tokenizer)
        begins = asked[: cfg.sample_documents] or [self.format.prompt(None, tokenizer)]
        device = next(self.model.parameters()).device
        prompts = [torch.from_numpy(ids).to(device) for ids in begins]
        seed = stream_seed(self.seed, "sample", step)
        temperature, top_k = cfg.sample_temperature, cfg.sample_top_k
        sampling = Sampling(temperature, top_k, seed)
        num = 1 if end is None or asked else cfg.sample_documents
        size = (cfg.sample_tokens, self.block_size)
        rows = generate(self.model, prompts, *size, sampling, num, stop, crossed=end is None)
        if asked:  # each is told with its answer
            whole = [[*ids.tolist(), *row] for ids, row in zip(begins, rows, strict=True)]
            before, texts = "", [self.format.shown(tokenizer.decode(ids)) for ids in whole]
        else:
            before = tokenizer.decode(prompts[0].tolist())
            texts = [tokenizer.decode(row) for row in rows]
        sample = Sample(step, before, temperature, top_k, seed, self.format.join(texts))
        new = torch.tensor(rows[0], dtype=prompts[0].dtype, device=device)
        # The ids as they were drawn: bytes that are no UTF-8 have no text.
        read = torch.cat([prompts[0], new])[: self.block_size]
        return sample, probe_model(self.model, tokenizer, read, step)


def build_sampler(model: Model, text: LoadedCorpus, cfg: TrainerConfig, seed: int) -> Sampler:
    """What draws the samples of a run on this corpus, whose seed it is."""
    tokenizer, block_size = text.tokenizer, text.block_size
    questions = text.format.questions(text.splits.val, tokenizer, block_size)
    return Sampler(model, tokenizer, text.format, block_size, cfg, seed, questions)
