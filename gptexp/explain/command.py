"""`gptexp explain`: which model and which text are meant, then all stages of the text."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gptexp.config import Config, check, choices, from_overrides
from gptexp.data.load import format_of, load_corpus, read_corpus, split_corpus
from gptexp.data.read import with_line_feeds
from gptexp.errors import ConfigError, DataError, Problem
from gptexp.explain.render import render
from gptexp.explain.trace import trace_text
from gptexp.files import at_home
from gptexp.inference.load import load_run
from gptexp.models.base import Model
from gptexp.models.build import build_model
from gptexp.models.counts import total_parameters
from gptexp.optim.scaling import scale_weights
from gptexp.optim.schedule import build_schedule
from gptexp.runtime.device import cpu_threads
from gptexp.runtime.random import stream_seed
from gptexp.text import in_shell, nearest
from gptexp.tokenizers.base import Tokenizer

MOST_PARAMETERS = 100_000_000  # of an untrained model, whose numbers nobody could follow

PIECE = 8  # tokens of a text that are read where none is given: as many as are shown

# A model that needs an optimizer of its own brings its rung of the ladder, others are microGPT's.
EXPERIMENTS = {"model=bigram": "ladder_bigram", "model=mlp": "ladder_mlp"}


@dataclass(frozen=True)
class Subject:
    """A model to explain, with what it reads by and learns by."""

    model: Model
    tokenizer: Tokenizer
    config: Config
    weights: str  # which ones, in words
    lr: float  # of the update
    lr_words: str  # where that comes from


def explain(what: str, overrides: list[str], text: str | None) -> str:
    """All stages of one document, or of a piece of a text, in lines of at most 100 columns.

    `what` is a choice of the group data, or else a run directory or checkpoint; `text` is what is
    read, or None for the first of the validation split. On the CPU; writes nothing. Raises
    ConfigError, CheckpointError and DataError.
    """
    with cpu_threads(1):  # so that the numbers do not depend on how many there are
        known = what in choices("data")
        subject = _untrained(what, overrides) if known else _trained(what, overrides)
        if subject.config.data.chat:
            reason = (
                "of conversations, whose answers alone are learned, and a text is learned whole"
            )
            fix = "names, or shakespeare"
            if not known:
                fix = "a run of a text, as the one that it started from, or gptexp chat RUN"
            raise ConfigError(Problem(what, reason, fix))
        tokenizer, config = subject.tokenizer, subject.config
        ids = _first(subject, what) if text is None else _encoded(text, subject)
        ids = ids[: config.model.block_size + 1]
        trace = trace_text(subject.model, tokenizer, config, ids, subject.lr)
        return render(trace, config, subject.weights, subject.lr_words)


def _untrained(what: str, overrides: list[str]) -> Subject:
    """A model as a run of these overrides begins; raises ConfigError and DataError."""
    words = [*overrides, f"data={what}"]
    if not any(word.startswith("experiment=") for word in overrides):
        presets = [EXPERIMENTS[word] for word in overrides if word in EXPERIMENTS]
        words.insert(0, f"experiment={[*presets, 'microgpt'][0]}")
    config = from_overrides(words)
    check(config)
    for key in ("init_from", "branch_from"):
        if (file := getattr(config, key)) is not None:
            fix = f"gptexp explain {in_shell(file)}"
            raise ConfigError(Problem(key, f"{file} is no untrained model", fix))
    loaded = load_corpus(config.data, config.tokenizer, config.model.block_size)
    if (count := total_parameters(config.model, loaded.tokenizer.vocab_size)) > MOST_PARAMETERS:
        fix = f"a model of at most {MOST_PARAMETERS:,}, as model=micro"
        raise ConfigError(Problem("model", f"{count:,} parameters are too many to explain", fix))
    seed = stream_seed(config.seed, "init")  # as experiment/train.py draws them
    model = build_model(config.model, loaded.tokenizer.vocab_size, seed)
    scale_weights(model, config.optim)
    model.boundary = loaded.boundary
    return Subject(
        model,
        loaded.tokenizer,
        config,
        f"untrained, seed {config.seed}",
        config.optim.lr * build_schedule(config.schedule, config.trainer.max_steps)(0),
        "that of the first step of such a run",
    )


def _trained(what: str, overrides: list[str]) -> Subject:
    """The best weights of a run, whose corpus need not be there.

    Raises ConfigError and CheckpointError.
    """
    path = at_home(what)
    if not path.exists():
        known = choices("data")
        reason = f"no run or checkpoint is there, and the corpora are {', '.join(known)}"
        fix = f"gptexp explain {nearest(what, known) or 'names'}"
        raise ConfigError(Problem(what, reason, fix))
    if overrides:
        fix = f"leave it out, or gptexp explain names {overrides[0]}"
        raise ConfigError(Problem(overrides[0], "a run has its own config", fix))
    run = load_run(path)
    return Subject(
        run.model,
        run.tokenizer,
        run.config,
        f"weights of step {run.step:,} of {what}",
        run.config.optim.lr,
        "the peak of the run, and no moments from it",
    )


def _first(subject: Subject, what: str) -> Tensor:
    """The ids of the validation split's beginning: a document, or PIECE tokens of a text.

    Raises DataError where a run's corpus has gone.
    """
    config, tokenizer = subject.config, subject.tokenizer
    try:
        text = read_corpus(config.data)
        loaded = split_corpus(config.data, text, tokenizer, config.model.block_size)
    except DataError as error:
        cause = error.problems[0]
        reason = f"{cause.subject}: {cause.what}"
        raise DataError(Problem(what, reason, "say what to read, --text TEXT")) from error
    excerpt = loaded.format.excerpt(loaded.splits.val, tokenizer, PIECE)
    return torch.tensor(excerpt.tolist())


def _encoded(text: str, subject: Subject) -> Tensor:
    """The ids of a text that the reader gave; raises DataError."""
    whole = format_of(subject.config.data).enclose(with_line_feeds(text))
    ids = torch.from_numpy(subject.tokenizer.encode(whole))
    if len(ids) < 2:
        what = f"{text!r} has no token that follows another"
        raise DataError(Problem("--text", what, "at least two characters"))
    return ids
