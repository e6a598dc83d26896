"""Generation, and a run loaded for it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptexp import checkpoint, networks, tokenizers
from gptexp.config import Config, TrainerConfig, from_dict
from gptexp.corpus import Corpus
from gptexp.documents import BOUNDARY
from gptexp.errors import CheckpointError, ConfigError, DataError
from gptexp.journal import Sample, read_journal
from gptexp.tokenizers import Tokenizer


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


def problems(tokens: int, temperature: float, top_k: int | None, num: int, seed: int) -> list[str]:
    """What is wrong with the settings of a draw; empty when all is well."""
    found = []
    for name, value in (("tokens", tokens), ("num", num), ("top-k", top_k)):
        if value is not None and value < 1:
            found.append(f"{name}: {value} is below 1. Fix: {name} of 1 or more")
    if not 0 <= temperature < math.inf:
        found.append(f"temperature: {temperature} is not a finite number of at least 0. Fix: 0.8")
    if not 0 <= seed < 2**63:
        found.append(f"seed: {seed} is not in [0, 2^63). Fix: a seed of 0, for one")
    return found


def default_prompt(tokenizer: Tokenizer) -> str:
    """A line break, which begins something new in most texts; else the first character known."""
    try:
        tokenizer.encode("\n")
    except DataError:
        return tokenizer.decode([0])
    return "\n"


@dataclass(frozen=True)
class LoadedRun:
    """A run, ready for a notebook."""

    model: networks.Network  # best weights, in evaluation mode
    tokenizer: Tokenizer
    config: Config
    metrics: list[dict[str, Any]]  # the lines of metrics.jsonl; empty for a lone checkpoint
    step: int  # of the checkpoint

    def sample(
        self,
        prompt: str | None = None,
        *,
        tokens: int = 500,
        temperature: float = 0.8,
        top_k: int | None = None,
        num: int = 1,
        seed: int = 0,
    ) -> list[str]:
        """`num` texts, each the prompt and what the model makes of it.

        Raises ConfigError for settings that cannot work, DataError for a prompt it cannot encode.
        """
        if found := problems(tokens, temperature, top_k, num, seed):
            raise ConfigError(*found)
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "seed": seed}
        if self.config.data.documents:
            return self._documents(prompt or "", tokens, num, options)
        prompt = default_prompt(self.tokenizer) if prompt is None else prompt
        if not prompt:
            raise DataError("prompt: empty. Fix: give at least one character, or leave it out")
        new = generate(
            self.model, self._encoded(prompt, num), tokens, self.config.model.block_size, **options
        )
        return [prompt + self.tokenizer.decode(row.tolist()) for row in new]

    def _documents(self, prompt: str, tokens: int, num: int, options: dict[str, Any]) -> list[str]:
        """Each begins with `prompt`, which is the beginning of one document."""
        block_size = self.config.model.block_size
        if BOUNDARY in prompt:
            raise DataError("prompt: a line break ends a document. Fix: the start of one document")
        ids = self._encoded(BOUNDARY + prompt, num)
        if ids.shape[1] > block_size:
            raise DataError(
                f"prompt: {ids.shape[1] - 1} tokens, and a document has at most "
                f"model.block_size={block_size}. Fix: fewer than {block_size}"
            )
        new = generate_documents(self.model, ids, tokens, block_size, int(ids[0, 0]), **options)
        return [prompt + self.tokenizer.decode(row) for row in new]

    def _encoded(self, prompt: str, num: int) -> Tensor:
        """The ids [num, time] on the model's device."""
        ids = torch.from_numpy(self.tokenizer.encode(prompt)).repeat(num, 1)
        return ids.to(next(self.model.parameters()).device)


def load_run(run: Path, device: str = "cpu") -> LoadedRun:
    """From a run directory's best checkpoint, or from the checkpoint file `run`.

    Needs nothing but the checkpoint; raises CheckpointError.
    """
    state = read_checkpoint(run)
    try:
        config = from_dict(state["config"])
        tokenizer = tokenizers.from_dict(state["tokenizer"])
        network = networks.blank(config.model, tokenizer.vocab_size)
        network.load_state_dict(state["model"])
    except (KeyError, RuntimeError, ConfigError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{run}: its parts do not fit together: {reason}. Fix: use the gptexp that wrote it"
        ) from error
    metrics = read_journal(run / "metrics.jsonl") if run.is_dir() else []
    return LoadedRun(network.to(device).eval(), tokenizer, config, metrics, state["step"])


def read_checkpoint(run: Path) -> checkpoint.State:
    """The verified state behind a run directory (its best) or a checkpoint file."""
    try:
        if run.is_dir():
            if not (run / "checkpoints").is_dir():
                raise CheckpointError(
                    f"{run}: not a run directory. Fix: name one, outputs/NAME/RUN"
                )
            return checkpoint.Store(run / "checkpoints").best()
        if run.exists():
            return checkpoint.read(run)
    except OSError as error:
        raise CheckpointError(f"{run}: {error.strerror}. Fix: make it readable") from error
    raise CheckpointError(f"{run}: not there. Fix: name a run directory, as in outputs/NAME/RUN")
