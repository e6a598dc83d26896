"""What a page of microGPT's kind holds beside its runs: the stages, counts, and how each learns."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gptexp.analysis.groups import statistic
from gptexp.config import AdamConfig, AdamWConfig, BigramConfig, Config, GPTConfig
from gptexp.errors import ConfigError, DataError
from gptexp.experiment.evaluate import own_text
from gptexp.inference.load import LoadedRun, load_run
from gptexp.interchange.convert import not_micro
from gptexp.models.bigram import Bigram
from gptexp.playground.contents import Contents
from gptexp.playground.stages import COUNTING, adds, is_published, place, title
from gptexp.text import plural

log = logging.getLogger(__name__)

MOST_PARAMETERS = 10_000  # of a run of microGPT's kind: each is an object of its own in the page

MOST_TOKENS = 128  # of its vocabulary, whose pairs are a table in the page

SMOOTHING = 1.0  # Laplace's rule, as in model=bigram


def ladder(runs: Sequence[Contents]) -> dict[str, Any] | None:
    """The stages of a page's runs, in plain values for its script; None without microGPT's kind.

    Those are the runs on the text of the first that is of its kind, in the order in which each
    adds to the one before. Below all is counting: the pairs of its whole training text, where that
    is there. Numbers that stand for runs are their places on the page.
    """
    micro = [run for run in runs if _is_micro(run)]
    if not micro:
        return None
    top = micro[0]
    loaded = load_run(top.run)
    one = "name" if loaded.config.data.name == "names" else "document"
    counted = None if top.cost is None else _counted(loaded, one)  # of a text that was there
    stages = [] if counted is None else [counted.pop("stage")]
    before: Config | None = None
    for run in sorted((run for run in runs if _compares(run, top)), key=lambda r: place(r.config)):
        words = {"title": title(run.config, run in micro), "adds": adds(run.config, before)}
        stages.append({**words, **_measured(run), "run": runs.index(run)})
        before = run.config
    micro.sort(key=lambda run: (not is_published(run.config), run.facts["parameters"]))
    return {
        "one": one,
        "stages": stages,
        "learners": [{"run": runs.index(run), **_optimizer(run.config)} for run in micro],
        **(counted or {"text": _first_tokens(loaded)}),
    }


def _is_micro(run: Contents) -> bool:
    """Whether a run has microGPT's architecture, on documents, and is small enough to be walked."""
    config, facts = run.config, run.facts
    is_small = facts["parameters"] <= MOST_PARAMETERS
    of_one_text = config.data.documents and not config.data.parts
    if not (isinstance(config.model, GPTConfig) and of_one_text and is_small):
        return False
    return facts["spec"]["vocab_size"] <= MOST_TOKENS and not not_micro(config, facts["tokenizer"])


def _compares(run: Contents, top: Contents) -> bool:
    """Whether two runs are judged on the same text in the same tokens."""
    texts = [replace(each.config.data, fraction=1.0) for each in (run, top)]
    return texts[0] == texts[1] and run.facts["tokenizer"] == top.facts["tokenizer"]


def _measured(run: Contents) -> dict[str, Any]:
    """Parameters, and validation loss: the mean over the seeds with half its 95% interval.

    Of a run for itself it is that of the weights on the page, before they are rounded, or what the
    run says where its text is not there.
    """
    seeds = statistic(run.losses)
    loss = None if seeds is None else seeds.mean
    if len(run.losses) < 2 and run.cost is not None:
        loss = run.cost.exact
    return {
        "parameters": run.facts["parameters"],
        "loss": loss,
        "spread": None if seeds is None else seeds.ci95,
        "seeds": max(len(run.losses), 1),
    }


def _optimizer(config: Config) -> dict[str, Any]:
    """By what a run learned: its peak learning rate, and Adam's numbers where it has them."""
    optim = config.optim
    words: dict[str, Any] = {"optimizer": "sgd", "lr": optim.lr}
    if isinstance(optim, AdamConfig | AdamWConfig):
        words |= {"optimizer": "adam", "beta1": optim.beta1, "beta2": optim.beta2}
    return words


def _counted(loaded: LoadedRun, one: str) -> dict[str, Any] | None:
    """The pairs of a run's whole training text, as a stage; and a document of its validation text.

    The loss is exact, by Laplace's rule, over the same targets as that of any run. None, with a
    warning, where the text cannot be read.
    """
    config = replace(loaded.config, data=replace(loaded.config.data, fraction=1.0))
    loaded = replace(loaded, config=config)
    try:
        text = own_text(loaded, "train", "val")
    except (ConfigError, DataError) as error:
        log.warning("%s", error.problems[0].told())
        return None
    size, end = loaded.tokenizer.vocab_size, loaded.format.end(loaded.tokenizer)
    train = text.splits.train.astype(np.int64)
    pairs = np.bincount(train[:-1] * size + train[1:], minlength=size * size).reshape(size, size)
    cfg = BigramConfig(
        name="counted", kind="bigram", block_size=text.block_size, smoothing=SMOOTHING
    )
    model = Bigram(cfg, size)
    with torch.no_grad():
        model.counts.copy_(torch.from_numpy(pairs))
    judged = replace(loaded, model=model.to(loaded.device)).judged(text, "val")
    documents = int(np.count_nonzero(train == end)) - 1
    edges = np.flatnonzero(text.splits.val == end)
    first = text.splits.val[edges[0] + 1 : edges[1]].tolist()
    stage = {
        "title": f"Counting {plural(documents, one)}",
        "adds": COUNTING,
        "parameters": size * size,
        "loss": judged.loss,
        "spread": None,
        "seeds": 1,
        "run": None,
    }
    return {
        "stage": stage,
        "counts": pairs.tolist(),
        "smoothing": SMOOTHING,
        "text": loaded.tokenizer.decode(first[: text.block_size - 1]),
    }


def _first_tokens(loaded: LoadedRun) -> str:
    """A text where no document can be read: the first few tokens that are none but themselves."""
    end = loaded.format.end(loaded.tokenizer)
    return loaded.tokenizer.decode([i for i in range(loaded.tokenizer.vocab_size) if i != end][:4])
