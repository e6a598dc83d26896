"""Generation, and a run loaded for it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from gptexp.config import TrainerConfig
from gptexp.data.corpus import Corpus
from gptexp.errors import DataError, Problem
from gptexp.runs.journal import Sample
from gptexp.tokenizers.base import Tokenizer


@torch.no_grad()
def generate(
    network: nn.Module,
    prompt: Tensor,
    tokens: int,
    block_size: int,
    *,
    temperature: float,
    top_k: int | None,
    seed: int,
    stop: int | None = None,
) -> Tensor:
    """Continue `prompt` [batch, time]; returns the new tokens, [batch, tokens], on the CPU.

    Fewer, where each row has drawn the token `stop` before. The context is cropped to its last
    `block_size` tokens. Draws come from their own generator on the CPU, so that neither the device
    nor the training's random state has a part in them.
    """
    generator = torch.Generator().manual_seed(seed)
    was_training = network.training
    network.eval()
    ids = prompt
    stopped = torch.zeros(len(prompt), dtype=torch.bool)
    for _ in range(tokens):
        if stopped.all():
            break
        logits = network(ids[:, -block_size:])[:, -1]  # [batch, vocab]
        following = choose(logits.float().cpu(), temperature, top_k, generator)
        ids = torch.cat([ids, following.to(ids.device)], dim=1)
        if stop is not None:
            stopped |= following[:, 0] == stop
    network.train(was_training)
    return ids[:, prompt.shape[1] :].cpu()


def generate_documents(
    network: nn.Module, prompt: Tensor, tokens: int, block_size: int, boundary: int, **options: Any
) -> list[list[int]]:
    """Continue each row of `prompt` [documents, time], which begins with `boundary`.

    Returns the new tokens of each, without the boundary that ends it. A document is at most as long
    as the context, since the model never saw the inside of one without its beginning.
    """
    most = min(tokens, block_size + 1 - prompt.shape[1])
    rows = generate(network, prompt, most, block_size, stop=boundary, **options).tolist()
    return [row[: row.index(boundary)] if boundary in row else row for row in rows]


def draw(
    network: nn.Module,
    tokenizer: Tokenizer,
    cfg: TrainerConfig,
    corpus: Corpus,
    seed: int,
    step: int,
) -> tuple[Sample, Tensor]:
    """A text from nothing but the default prompt, as the config wants its samples, and its ids.

    The ids [time] are prompt and text as the model drew them: bytes that are no UTF-8 have none. Of
    documents, the text is several, one a line, and the ids are those of the first.
    """
    prompt = default_prompt(tokenizer)
    ids = torch.from_numpy(tokenizer.encode(prompt)).to(next(network.parameters()).device)
    options: dict[str, Any] = {
        "temperature": cfg.sample_temperature,
        "top_k": cfg.sample_top_k,
        "seed": seed,
    }
    if corpus.boundary is None:
        rows = generate(network, ids[None], cfg.sample_tokens, corpus.block_size, **options)
        new = rows[0].tolist()
        text = tokenizer.decode(new)
    else:
        prompts = ids.repeat(cfg.sample_documents, 1)
        drawn = generate_documents(
            network, prompts, cfg.sample_tokens, corpus.block_size, corpus.boundary, **options
        )
        new = drawn[0]
        text = "".join(f"{tokenizer.decode(document)}\n" for document in drawn)
    sample = Sample(step, prompt, cfg.sample_temperature, cfg.sample_top_k, seed, text)
    return sample, torch.cat([ids, torch.tensor(new, dtype=ids.dtype, device=ids.device)])


def choose(
    logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator
) -> Tensor:
    """One token for each row of `logits` [batch, vocab]: [batch, 1].

    Temperature 0 is greedy. `top_k` leaves exactly the k highest logits in the draw.
    """
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    if top_k is not None and top_k < logits.shape[-1]:
        highest, index = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, index, highest)
    # The highest logit becomes 0 first, so that a small temperature cannot overflow.
    scaled = (logits - logits.max(dim=-1, keepdim=True).values) / temperature
    return torch.multinomial(scaled.softmax(dim=-1), 1, generator=generator)


def draw_problems(
    tokens: int, temperature: float, top_k: int | None, num: int, seed: int
) -> list[Problem]:
    """What is wrong with the settings of a draw; empty when all is well."""
    found = []
    for name, value in (("tokens", tokens), ("num", num), ("top-k", top_k)):
        if value is not None and value < 1:
            found.append(Problem(name, f"{value} is below 1", f"{name} of 1 or more"))
    if not 0 <= temperature < math.inf:
        found.append(
            Problem("temperature", f"{temperature} is not a finite number of at least 0", "0.8")
        )
    if not 0 <= seed < 2**63:
        found.append(Problem("seed", f"{seed} is not in [0, 2^63)", "a seed of 0, for one"))
    return found


def default_prompt(tokenizer: Tokenizer) -> str:
    """A line break, which begins something new in most texts; else the first character known."""
    try:
        tokenizer.encode("\n")
    except DataError:
        return tokenizer.decode([0])
    return "\n"
