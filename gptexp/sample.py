"""Generation, and a run loaded for it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptexp import checkpoint, model, tokenizers
from gptexp.config import Config, TrainerConfig, from_dict
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
) -> Tensor:
    """Continue `prompt` [batch, time]; returns the new tokens, [batch, tokens], on the CPU.

    The context is cropped to its last `block_size` tokens. Draws come from their own generator on
    the CPU, so that neither the device nor the training's random state has a part in them.
    """
    generator = torch.Generator().manual_seed(seed)
    was_training = network.training
    network.eval()
    ids = prompt
    for _ in range(tokens):
        logits = network(ids[:, -block_size:])[:, -1]  # [batch, vocab]
        following = choose(logits.float().cpu(), temperature, top_k, generator)
        ids = torch.cat([ids, following.to(ids.device)], dim=1)
    network.train(was_training)
    return ids[:, prompt.shape[1] :].cpu()


def draw(
    network: nn.Module,
    tokenizer: Tokenizer,
    cfg: TrainerConfig,
    block_size: int,
    seed: int,
    step: int,
) -> tuple[Sample, Tensor]:
    """A text from nothing but the default prompt, as the config wants its samples, and its ids.

    The ids [time] are prompt and text as the model drew them: bytes that are no UTF-8 have none.
    """
    prompt = default_prompt(tokenizer)
    ids = torch.from_numpy(tokenizer.encode(prompt)).to(next(network.parameters()).device)
    new = generate(
        network,
        ids[None],
        cfg.sample_tokens,
        block_size,
        temperature=cfg.sample_temperature,
        top_k=cfg.sample_top_k,
        seed=seed,
    )
    text = tokenizer.decode(new[0].tolist())
    sample = Sample(step, prompt, cfg.sample_temperature, cfg.sample_top_k, seed, text)
    return sample, torch.cat([ids, new[0].to(ids.device)])


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

    model: model.GPT  # best weights, in evaluation mode
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
        prompt = default_prompt(self.tokenizer) if prompt is None else prompt
        if not prompt:
            raise DataError("prompt: empty. Fix: give at least one character, or leave it out")
        ids = torch.from_numpy(self.tokenizer.encode(prompt)).repeat(num, 1)
        ids = ids.to(next(self.model.parameters()).device)
        block_size = self.config.model.block_size
        new = generate(
            self.model, ids, tokens, block_size, temperature=temperature, top_k=top_k, seed=seed
        )
        return [prompt + self.tokenizer.decode(row.tolist()) for row in new]


def load_run(run: Path, device: str = "cpu") -> LoadedRun:
    """From a run directory's best checkpoint, or from the checkpoint file `run`.

    Needs nothing but the checkpoint; raises CheckpointError.
    """
    state = read_checkpoint(run)
    try:
        config = from_dict(state["config"])
        tokenizer = tokenizers.from_dict(state["tokenizer"])
        network = model.GPT(config.model, tokenizer.vocab_size)
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
