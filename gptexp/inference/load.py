"""A run loaded from its checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptexp.config import Config, from_dict
from gptexp.data.documents import BOUNDARY
from gptexp.errors import CheckpointError, ConfigError, DataError, Problem
from gptexp.inference.generate import default_prompt, draw_problems, generate, generate_documents
from gptexp.models.build import Model, construct
from gptexp.runs import checkpoint
from gptexp.runs.journal import read_journal
from gptexp.tokenizers.base import Tokenizer
from gptexp.tokenizers.build import tokenizer_from_dict


@dataclass(frozen=True)
class LoadedRun:
    """A run, ready for a notebook."""

    model: Model  # best weights, in evaluation mode
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
        ConfigError.raise_for(draw_problems(tokens, temperature, top_k, num, seed))
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "seed": seed}
        if self.config.data.documents:
            return self._documents(prompt or "", tokens, num, options)
        prompt = default_prompt(self.tokenizer) if prompt is None else prompt
        if not prompt:
            raise DataError(
                Problem("prompt", "empty", "give at least one character, or leave it out")
            )
        new = generate(
            self.model, self._encoded(prompt, num), tokens, self.config.model.block_size, **options
        )
        return [prompt + self.tokenizer.decode(row.tolist()) for row in new]

    def _documents(self, prompt: str, tokens: int, num: int, options: dict[str, Any]) -> list[str]:
        """Each begins with `prompt`, which is the beginning of one document."""
        block_size = self.config.model.block_size
        if BOUNDARY in prompt:
            raise DataError(
                Problem("prompt", "a line break ends a document", "the start of one document")
            )
        ids = self._encoded(BOUNDARY + prompt, num)
        if ids.shape[1] > block_size:
            given, most = ids.shape[1] - 1, f"model.block_size={block_size}"
            what = f"{given} tokens, and a document has at most {most}"
            raise DataError(Problem("prompt", what, f"fewer than {block_size}"))
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
        tokenizer = tokenizer_from_dict(state["tokenizer"])
        network = construct(config.model, tokenizer.vocab_size)
        network.load_state_dict(state["model"])
    except (KeyError, RuntimeError, ConfigError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            Problem(run, f"its parts do not fit together: {reason}", "use the gptexp that wrote it")
        ) from error
    metrics = read_journal(run / "metrics.jsonl") if run.is_dir() else []
    return LoadedRun(network.to(device).eval(), tokenizer, config, metrics, state["step"])


def read_checkpoint(run: Path) -> checkpoint.State:
    """The verified state behind a run directory (its best) or a checkpoint file."""
    try:
        if run.is_dir():
            if not (run / "checkpoints").is_dir():
                raise CheckpointError(
                    Problem(run, "not a run directory", "name one, outputs/NAME/RUN")
                )
            return checkpoint.Store(run / "checkpoints").best()
        if run.exists():
            return checkpoint.read(run)
    except OSError as error:
        raise CheckpointError(Problem(run, f"{error.strerror}", "make it readable")) from error
    raise CheckpointError(Problem(run, "not there", "name a run directory, as in outputs/NAME/RUN"))
