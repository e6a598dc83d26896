"""A run loaded from its checkpoint."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from gptexp.config import Config, Dtype, from_dict
from gptexp.data.corpus import Format, Ids
from gptexp.data.load import LoadedCorpus, boundary_of, format_of, whole_corpus
from gptexp.data.read import with_line_feeds
from gptexp.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    OtherCodeError,
    Problem,
)
from gptexp.inference.dials import Sampling
from gptexp.inference.evaluation import Evaluation, Evaluator
from gptexp.inference.generate import draw
from gptexp.inference.mixed import build_evaluator
from gptexp.inference.texts import GrowingText, Piece
from gptexp.inference.weights import check_shapes, read_checkpoint, stored_tokenizer
from gptexp.models.base import Model
from gptexp.models.build import construct
from gptexp.models.counts import total_parameters
from gptexp.runs.journal import read_journal
from gptexp.runs.schema import read_summary
from gptexp.runtime.device import cpu_threads, probe_hardware, resolve_runtime
from gptexp.runtime.memory import is_out_of_memory
from gptexp.tokenizers.base import Tokenizer


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A run, ready for a notebook."""

    model: Model  # best weights, in evaluation mode
    tokenizer: Tokenizer
    config: Config
    step: int  # of the checkpoint
    path: Path  # the run directory, or a lone checkpoint

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, read when first asked for; empty for a lone checkpoint.

        Raises StorageError.
        """
        return read_journal(self.path / "metrics.jsonl") if self.path.is_dir() else []

    @property
    def summary(self) -> dict[str, Any] | None:
        """What summary.json says of how the run ended; None of one that has not, or of a lone file.

        Raises DamagedError.
        """
        return cast(dict[str, Any] | None, read_summary(self.path)) if self.path.is_dir() else None

    @property
    def format(self) -> Format:
        """The format in which its corpus is read."""
        return format_of(self.config.data)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def encode(self, text: str) -> Tensor:
        """The ids of a text [1, tokens] as `run.model` takes them: those of a prompt.

        Raises ConfigError for what is no text, DataError for characters that the run does not know
        and for more tokens than its context has.
        """
        ids = self.format.prompt(_checked("text", text), self.tokenizer)
        if len(ids) > self.config.model.block_size:
            most = f"at most model.block_size={self.config.model.block_size}"
            raise DataError(Problem("text", f"{len(ids)} tokens, and the model reads fewer", most))
        return torch.from_numpy(ids)[None].to(self.device)

    def evaluate(self, text: str) -> Evaluation:
        """The exact loss over all of a text, read as the run's own was.

        In the dtype of the weights: float32, or float64 after trainer.dtype=float64. Raises
        ConfigError for what is no text, DataError for one that cannot be judged.
        """
        text = self.format.normalise(_checked("text", text))
        if not text.strip():
            raise DataError(Problem("text", "empty, or white space alone", "a text to judge"))
        keys: dict[str, Any] = {"tokens": False, "vocab_size": None, "val_tokens": None}
        keys |= {"path": "the text", "parts": {}, "mask_documents": False}
        data = replace(self.config.data, **keys)
        cut = whole_corpus(data, text, self.tokenizer, self.config.model.block_size)
        return self.judged(cut, "val")

    def judged(self, text: LoadedCorpus, split: str) -> Evaluation:
        """The exact loss over a split of a text, in the dtype of the weights."""
        with self._threads():
            return self._evaluator(text).evaluate(split)

    def each_loss(self, text: LoadedCorpus, split: str) -> tuple[Tensor, Tensor]:
        """The loss of each target of a split of a text, and its windows: Evaluator.each_loss."""
        with self._threads():
            return self._evaluator(text).each_loss(split)

    def sample(
        self,
        prompt: str | Iterable[str] | None = None,
        *,
        tokens: int = 500,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: str | Iterable[str] = (),
        num: int = 1,
        seed: int = 0,
    ) -> list[str]:
        """`num` texts, each the prompt and what the model makes of it; of several prompts, of each.

        Several prompts are read side by side, and their texts come one prompt after another, as
        they are from calls of their own. Raises ConfigError for settings that cannot work,
        DataError for a prompt it cannot encode.
        """
        prompts = [None] if prompt is None else _texts("prompt", prompt)
        stops = tuple(_texts("stop", stop))
        sampling = Sampling(temperature, top_k, seed, top_p, min_p, repetition_penalty, stop=stops)
        texts: dict[int, list[str]] = {}
        for piece in self.stream(prompts, sampling, tokens, num):
            texts.setdefault(piece.number, []).append(piece.added)
        return ["".join(texts[number]) for number in range(len(texts))]

    def stream(
        self, prompts: Sequence[str | None], sampling: Sampling, tokens: int, num: int = 1
    ) -> Iterator[Piece]:
        """The texts of `sample` in pieces, as they are drawn; the first of each is its prompt.

        Raises ConfigError and DataError at once, before the first piece is asked for.
        """
        ConfigError.raise_for(sampling.problems(tokens, num, len(prompts)))
        if not prompts:
            raise ConfigError(Problem("prompt", "there is none", "a text, or leave it out"))
        return self.pieces([self._prompt(text) for text in prompts], sampling, tokens, int(num))

    def pieces(
        self, prompts: list[Tensor], sampling: Sampling, tokens: int, num: int
    ) -> Iterator[Piece]:
        """The texts behind some prompts, each of ids [time], as `stream` gives them."""
        stop, block_size = self.format.stop(self.tokenizer), self.config.model.block_size
        crossed = self.format.end(self.tokenizer) is None
        texts = []
        for number in range(len(prompts) * num):
            ids = prompts[number // num].tolist()
            if self.config.data.chat:  # an answer stands by itself
                ids = []
            # The end of a document before it is no text.
            begun = ids[:1] == [stop]
            yield Piece(number, self.tokenizer.decode(ids[1:] if begun else ids), False)
            texts.append(GrowingText(self.tokenizer, sampling.stop))
        over: set[int] = set()
        with self._threads():
            for row, token in draw(
                self.model, prompts, tokens, block_size, sampling, num, stop, over, crossed
            ):
                if token is None:
                    yield Piece(row, texts[row].rest(), True)
                    continue
                added = texts[row].add(token)
                if texts[row].is_stopped:
                    over.add(row)
                if added or texts[row].is_stopped:
                    yield Piece(row, added, texts[row].is_stopped)

    def _prompt(self, prompt: str | None) -> Tensor:
        """The ids [time] of what a text begins with; raises ConfigError and DataError."""
        if prompt is not None:
            prompt = _checked("prompt", prompt)
        return self.checked(self.format.prompt(prompt, self.tokenizer))

    def checked(self, ids: Ids) -> Tensor:
        """The ids of a prompt on the device [time]; raises DataError for more than a context."""
        data, block_size = self.config.data, self.config.model.block_size
        if data.is_listed and len(ids) > block_size:
            what = f"{len(ids) - 1} tokens, and a {'conversation' if data.chat else 'document'} "
            what += f"has at most model.block_size={block_size}"
            raise DataError(Problem("prompt", what, f"fewer than {block_size}"))
        return torch.from_numpy(ids).to(self.device)

    def _evaluator(self, text: LoadedCorpus) -> Evaluator:
        """What judges the model, in the dtype of its weights."""
        dtype = Dtype.float64 if _in_float64(self.config) else Dtype.float32
        cfg = replace(self.config.trainer, device=str(self.device), dtype=dtype)
        runtime = resolve_runtime(cfg, probe_hardware())
        corpus = text.corpus(cfg.rows, self.config.seed, runtime.device)
        return build_evaluator(self.model, corpus, self.tokenizer, runtime, cfg.eval_batch_size)

    def _threads(self) -> AbstractContextManager[None]:
        """No more CPU threads than it was trained with: a small model shares its work out badly."""
        most = torch.get_num_threads()
        return cpu_threads(min(self.config.trainer.threads or most, most))

    def __repr__(self) -> str:
        model, data = self.config.model, self.config.data
        size = total_parameters(model, self.tokenizer.vocab_size)
        return (
            f"run     {self.path}\n"
            f"model   {model.name}: {size:,} parameters on {self.device}, of step {self.step:,}\n"
            f"data    {data.name}: {self.tokenizer.describe()}, context {model.block_size}"
        )


def _checked(name: str, text: object) -> str:
    """A text of a caller with the line ends of a corpus; raises ConfigError for none."""
    if not isinstance(text, str):
        raise ConfigError(Problem(name, f"{text!r} is no text", "a text in quotes"))
    return with_line_feeds(text)


def _texts(name: str, given: str | Iterable[str]) -> list[str]:
    """One text or several, as a list; raises ConfigError for what is neither."""
    is_single = isinstance(given, str | bytes) or not isinstance(given, Iterable)
    return [_checked(name, text) for text in ([given] if is_single else given)]


def load_run(run: Path, device: str = "cpu", weights: str = "raw") -> LoadedRun:
    """Load a run directory's best checkpoint, or the checkpoint file `run`.

    Of an average of the weights, ema or mean, that is the one with the lowest loss of its own.
    Needs nothing but the checkpoint, and the modules of own code in it, which are not imported for
    it: OwnCodeError names them. Raises CheckpointError, and ConfigError for other `weights`
    and for a key that was taken out.
    """
    state = read_checkpoint(run, weights)
    try:
        config = from_dict(state["config"])
        tokenizer = stored_tokenizer(state)
        check_shapes(config.model, tokenizer.vocab_size, state["model"])
        model = construct(config.model, tokenizer.vocab_size)
        if _in_float64(config) and not device.startswith("mps"):  # which has none
            model.double()
        model.load_state_dict(state["model"])
        model.boundary = boundary_of(config.data, tokenizer)
    except OtherCodeError as error:
        raise error.of(run) from error
    except CheckpointError as error:
        problems = (replace(p, subject=f"{run}: {p.subject}") for p in error.problems)
        raise CheckpointError(*problems) from error
    except (KeyError, RuntimeError, ConfigError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        if isinstance(error, ConfigError):
            reason = error.problems[0].told()
        what = f"its parts do not fit together: {reason}"
        raise CheckpointError(Problem(run, what, "use the gptexp that wrote it")) from error
    return LoadedRun(model.to(device).eval(), tokenizer, config, state["step"], run)


def _in_float64(config: Config) -> bool:
    """Whether the weights are float64, and not float32 as those of every other dtype are."""
    return config.trainer.dtype is Dtype.float64
