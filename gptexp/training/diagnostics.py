"""A look inside the model as it trains, at every `trainer.diagnostics_interval`: `diag/...`.

Weights, gradients and random numbers are left as they are.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gptexp.data.corpus import IGNORE_INDEX, Batch, Corpus
from gptexp.inference.evaluation import rows_at_once
from gptexp.models.activation import ReLU2
from gptexp.models.attention import Attention
from gptexp.models.base import Model
from gptexp.models.gpt import Block
from gptexp.models.hooks import in_eval_mode, listening
from gptexp.runs.journal import LOOK
from gptexp.runtime.device import Runtime
from gptexp.tracking.dashboard import Histogram

TOKENS = 1024  # of the validation split, that the model reads for its activations, about

BINS = 64  # of a histogram

SMALLEST = 1e-30  # a norm of weights that are all 0, which a ratio is taken to

Groups = dict[str, list[Tensor]]  # by component of the model


@dataclass(frozen=True)
class Before:
    """What an update changes or lets go of, as it was before."""

    norms: dict[str, Tensor]  # of the gradients before clipping, by component
    histograms: dict[str, Tensor]  # of the gradients, by component
    weights: Groups  # copies


class Diagnostics:
    """Looks at one update, and at what the weights that it leaves make of a few tokens.

    These are read at most `batch_size` windows or documents at a time. Histograms are taken where
    it `draws`.
    """

    def __init__(
        self, model: Model, corpus: Corpus, runtime: Runtime, batch_size: int, draws: bool
    ) -> None:
        self.model, self.corpus, self.runtime = model, corpus, runtime
        self.batch_size, self.draws = batch_size, draws
        self.components = {
            name.replace(" ", "_"): parameters for name, parameters in model.components().items()
        }
        self.batches: list[Batch] = []  # of validation, the same each time

    @torch.no_grad()
    def before(self) -> Before:
        """Look at the gradients, and keep a copy of the weights, before they are updated."""
        gradients = {
            name: [p.grad for p in parameters if p.grad is not None]
            for name, parameters in self.components.items()
        }
        weights = {
            name: [p.clone() for p in parameters] for name, parameters in self.components.items()
        }
        return Before(norms(gradients), histograms(gradients) if self.draws else {}, weights)

    @torch.no_grad()
    def after(self, before: Before) -> tuple[dict[str, float], dict[str, Histogram]]:
        """Curves and histograms of the update that was made, by name; waits for the device."""
        weights: Groups = {name: [*tensors] for name, tensors in self.components.items()}
        lengths = norms(weights)
        steps = norms(  # taken in the place of the copies: others would be as large
            {
                name: [copy.sub_(p) for p, copy in zip(tensors, before.weights[name], strict=True)]
                for name, tensors in weights.items()
            }
        )
        ratios = {name: steps[name] / lengths[name].clamp(min=SMALLEST) for name in weights}
        curves = {
            **_named("diag/grad_norm", before.norms),
            **_named("diag/weight_norm", lengths),
            **_named("diag/update_ratio", ratios),
            **self.activations(),
        }
        drawn = {
            **_named("gradients", before.histograms),
            **_named("weights", histograms(weights) if self.draws else {}),
        }
        return _numbers(curves), _drawn(drawn)

    def activations(self) -> dict[str, Tensor]:
        """Curves of what the layers make of some validation windows, without dropout."""
        if not self.batches:
            block, vocab = self.corpus.block_size, self.model.vocab_size
            rows = rows_at_once(self.batch_size, block, vocab, self.runtime)
            self.batches = list(self.corpus.windows("val", rows, cap=TOKENS))
        passes = [self._read(batch) for batch in self.batches]
        tokens = torch.stack([one.is_read.sum() for one in passes]).sum()
        entropies = _by_layer([one.entropies for one in passes])
        largest = _by_layer([one.largest for one in passes])
        alive = _by_layer([one.alive for one in passes])
        return {
            **_named("diag/attention_entropy", {k: v.sum() / tokens for k, v in entropies.items()}),
            **_named("diag/activation_max", {k: v.max() for k, v in largest.items()}),
            **_named("diag/dead_relu", {k: _share_of_dead(v) for k, v in alive.items()}),
            LOOK: torch.stack([one.logit for one in passes]).max(),
        }

    def _read(self, batch: Batch) -> "Pass":
        seen = Pass(batch.targets != IGNORE_INDEX, self.model.documents(batch.inputs))
        with in_eval_mode(self.model), listening(self.model, seen.see), self.runtime.autocast():
            logits = self.model(batch.inputs)
        seen.logit = _largest(logits[seen.is_read])
        return seen


@dataclass
class Pass:
    """What the layers make of one batch, each list in the order of the layers."""

    is_read: Tensor  # [batch, time]: not what only fills up a shorter document
    documents: Tensor | None  # of each token [batch, time], where the model tells them apart
    entropies: list[Tensor] = field(default_factory=list)  # of attention, nats: sums over tokens
    largest: list[Tensor] = field(default_factory=list)  # numbers of the residual stream
    alive: list[Tensor] = field(default_factory=list)  # [units]: whether not 0 on every token
    logit: Tensor = field(init=False)  # the largest

    def see(self, _: str, module: nn.Module, given: Any, made: Any) -> None:
        """Take in what a module was given and made."""
        match module:
            case Attention() if self._fits(given):
                # [batch, head, time, time]
                weights = module.attention_weights(given, self.documents).float()
                entropy = torch.special.entr(weights).sum(dim=-1).mean(dim=1)  # [batch, time]
                self.entropies.append(entropy[self.is_read].sum())
            case Block() if self._fits(made):
                self.largest.append(_largest(made[self.is_read]))
            case nn.ReLU() | ReLU2() if self._fits(made):
                self.alive.append((made[self.is_read] != 0).any(dim=0))

    def _fits(self, value: Any) -> bool:
        """Whether it is of [batch, time, ...]; an own model may take and make anything."""
        return isinstance(value, Tensor) and value.shape[:2] == self.is_read.shape


def norms(groups: Groups) -> dict[str, Tensor]:
    """The norm over all tensors of each group that has any."""
    return {name: nn.utils.get_total_norm(tensors) for name, tensors in groups.items() if tensors}


def histograms(groups: Groups) -> dict[str, Tensor]:
    """For each group its least and largest value and BINS counts, float64 on the CPU [2 + BINS]."""
    return {name: _histogram(tensors) for name, tensors in groups.items() if tensors}


def _histogram(tensors: list[Tensor]) -> Tensor:
    """Tensor by tensor, since a copy of all would be large."""
    lowest = torch.stack([tensor.min() for tensor in tensors]).min()
    highest = torch.stack([tensor.max() for tensor in tensors]).max()
    apart = torch.where(lowest == highest, 0.5, 0.0)  # equal values stand in the middle
    lowest, highest = lowest - apart, highest + apart
    counts = torch.zeros(BINS, dtype=torch.long, device=lowest.device)
    for tensor in tensors:
        places = ((tensor.flatten() - lowest) * (BINS / (highest - lowest))).long()
        counts += torch.bincount(places.clamp_(0, BINS - 1), minlength=BINS)
    return torch.cat([torch.stack([lowest, highest]).cpu().double(), counts.cpu().double()])


def _drawn(by_name: dict[str, Tensor]) -> dict[str, Histogram]:
    """Histograms of finite values alone: others have no range."""
    drawn = {}
    for name, values in by_name.items():
        lowest, highest, *counts = values.tolist()
        if values.isfinite().all():
            drawn[name] = Histogram(lowest, highest, list(map(int, counts)))
    return drawn


def _largest(values: Tensor) -> Tensor:
    """The largest absolute value."""
    return values.abs().max()


def _named(prefix: str, by_name: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in by_name.items()}


def _by_layer(passes: list[list[Tensor]]) -> dict[str, Tensor]:
    """What the passes made at each layer [passes, ...]."""
    layers = enumerate(zip(*passes, strict=True), start=1)
    return {f"layer_{number}": torch.stack(parts) for number, parts in layers}


def _share_of_dead(alive: Tensor) -> Tensor:
    """The share of units that are alive in none of the passes [passes, units]."""
    return 1 - alive.any(dim=0).float().mean()


def _numbers(tensors: dict[str, Tensor]) -> dict[str, float]:
    """The numbers in tensors of one value, brought from the device at once."""
    values = torch.stack([value.float() for value in tensors.values()]).tolist()
    return dict(zip(tensors, values, strict=True))
