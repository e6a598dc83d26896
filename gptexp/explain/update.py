"""The stages after the forward pass: what the model expects, how wrong it is, what it learns."""

import math
from collections.abc import Iterator

from gptexp.config import (
    AdamConfig,
    AdamWConfig,
    BigramConfig,
    Config,
    GPTConfig,
    ModelConfig,
    Scaling,
)
from gptexp.explain.layout import Stage, code, left_out, norm_name, places, table, wrapped
from gptexp.explain.trace import Change, Trace
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.loss import token_losses
from gptexp.text import plural
from gptexp.training.step import UpdateStep

TOP = 3  # likeliest next tokens that are shown


def update_stages(trace: Trace, config: Config, lr_words: str) -> Iterator[Stage]:
    """Yield the stages of what the model expects, how wrong it was, and what it learns."""
    yield _probabilities(trace, config.model)
    yield _loss(trace)
    yield _update(trace, config, lr_words)


def _probabilities(trace: Trace, model: ModelConfig) -> Stage:
    match model:
        case GPTConfig(final_norm=True):
            words = f"After a last {norm_name(model)}, the head turns each vector into"
        case BigramConfig():
            words = "The ln of the probabilities in the input token's row is"
        case _:
            words = "The head turns each vector into"
    words += (
        f" one score for each of the {len(trace.vocabulary)} tokens, the logits; softmax "
        "makes them probabilities, which add up to 1. The loss of a position is -ln of the "
        "probability that the target got: 0 would be certain and right."
    )
    rows = [["", *(f"likeliest {i + 1}" for i in range(TOP)), "target", "logit", "prob.", "loss"]]
    chances = trace.logits.softmax(dim=-1)
    for place, label in places(trace):
        best = chances[place].argsort(descending=True, stable=True)[:TOP].tolist()  # ties by id
        likely = [f"{trace.vocabulary[token]} {chances[place, token].item():.3f}" for token in best]
        target = trace.target_ids[place]
        rows.append(
            [
                label,
                *(likely + [""] * TOP)[:TOP],
                trace.vocabulary[target],
                f"{trace.logits[place, target].item():z.2f}",
                f"{chances[place, target].item():.3f}",
                f"{trace.losses[place].item():.3f}",
            ]
        )
    return Stage("logits, probabilities", code(token_losses), [*wrapped(words), "", *table(rows)])


def _loss(trace: Trace) -> Stage:
    positions, size = len(trace.losses), len(trace.vocabulary)
    words = (
        f"The mean over {plural(positions, 'position')} is what training makes smaller. A uniform "
        f"guess, which holds all {size} tokens for equally likely, has a loss of ln {size}. A loss "
        "of L is as unsure as a uniform guess among e^L tokens."
    )
    losses = {"loss of the model": trace.loss, "loss of a uniform guess": math.log(size)}
    rows = [
        [name, f"{loss:.4f}", f"as a guess among {math.exp(min(loss, 99)):.3g}"]
        for name, loss in losses.items()
    ]
    return Stage("loss", code(Evaluator.evaluate), [*wrapped(words), "", *table(rows)])


def _update(trace: Trace, config: Config, lr_words: str) -> Stage:
    update, clip = trace.update, config.trainer.grad_clip
    words = (
        "Backpropagation gives each parameter its gradient: how the loss would change with it. "
        f"{update.optimizer} then moves all parameters a little against it, with a learning rate "
        f"of {update.lr:.3g}, {lr_words}."
    )
    if trace.counts is not None:
        words = (
            "The gradient is minus the pairs that were seen, and one step against it, of length "
            f"{update.lr:.3g}, adds them to the table: counting is training here."
        )
    if 0 < clip < update.gradient:
        words += f" The gradient's norm, {update.gradient:.3g}, is first clipped to {clip:g}."
    if type(config.optim) in (AdamConfig, AdamWConfig):
        words += (
            " Adam's first step moves every number that has a gradient by about its learning rate, "
            "whatever the gradient's size."
        )
    if isinstance(config.optim, AdamWConfig) and config.optim.scaling is not Scaling.none:
        words += (
            " Hidden matrices have a learning rate that goes with the width "
            f"(optim.scaling={config.optim.scaling.value})."
        )
    lines = [*wrapped(words), "", *table(_changes(trace, config.model)), *left_out(trace), ""]
    difference = update.loss - trace.loss
    rows = [
        ["loss on this text before", f"{trace.loss:.4f}"],
        ["and after this update", f"{update.loss:.4f}", f"{difference:+.4f}"],
    ]
    return Stage("one update", code(UpdateStep), [*lines, *table(rows)])


def _changes(trace: Trace, model: ModelConfig) -> list[list[str]]:
    """Rows: each matrix of the layers that are shown, all biases and gains, all parameters."""
    hidden = tuple(f"blocks.{i}." for i in range(1, len(trace.layers) - 1))
    tied = isinstance(model, GPTConfig) and model.tie_head
    rows = [["parameter", "shape", "gradient norm", "change norm"]]
    vectors: list[Change] = []
    for change in trace.update.changes:
        if len(change.shape) < 2:
            vectors.append(change)
        elif not change.name.startswith(hidden):
            shape = " x ".join(map(str, change.shape))
            name = change.name + (" = head" if tied and "token" in change.name else "")
            rows.append([name, shape, _small(change.gradient), _small(change.change)])
    everything = {"biases and gains": vectors, "all parameters": trace.update.changes}
    for name, changes in everything.items():
        if changes:
            size = f"{sum(math.prod(c.shape) for c in changes):,}"
            gradient = _small(math.hypot(*(c.gradient for c in changes)))
            rows.append([name, size, gradient, _small(math.hypot(*(c.change for c in changes)))])
    return rows


def _small(value: float) -> str:
    return f"{value:.4f}" if value == 0 or value >= 0.001 else f"{value:.1e}"
