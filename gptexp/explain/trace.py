"""One text on its way through a network: the numbers of every stage, and of one update.

They are those of the real forward pass, kept by hooks; only the attention weights, which the fused
kernel does not give, come from Attention.attention_weights. Nothing is printed here: see render.py.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from gptexp.config import Config
from gptexp.data.corpus import Batch
from gptexp.inference.loss import token_losses
from gptexp.inference.probe import visible
from gptexp.models.base import Model
from gptexp.models.bigram import Bigram
from gptexp.models.gpt import GPT
from gptexp.models.hooks import record_activations
from gptexp.models.mlp import MLP
from gptexp.optim.build import build_optimizer
from gptexp.runtime.device import Runtime
from gptexp.tokenizers.base import Tokenizer
from gptexp.training.step import UpdateStep


@dataclass(frozen=True)
class Embeddings:
    """How tokens become vectors, each [time, n_embd]."""

    tokens: Tensor  # rows of the token table
    positions: Tensor | None  # rows of the position table, where there is one
    total: Tensor  # the sum of both
    normed: Tensor | None  # after the embedding norm, where there is one


@dataclass(frozen=True)
class Layer:
    """One block: the residual stream [time, n_embd], and what is added to it."""

    weights: Tensor  # [n_head, time, time]; rows attend to columns
    before: Tensor  # the stream that comes in
    attention: Tensor  # what attention adds
    between: Tensor  # the stream after that
    hidden: Tensor  # units of the MLP after the nonlinearity, [time, 4 n_embd]
    mlp: Tensor  # what the MLP adds
    after: Tensor  # the stream that goes out


@dataclass(frozen=True)
class Perceptron:
    """Between the embeddings and the logits of the model `mlp`."""

    context: int  # tokens that each position sees
    joined: Tensor  # their embeddings side by side, [time, context * n_embd]
    hidden: Tensor  # [time, n_hidden]


@dataclass(frozen=True)
class Counts:
    """Of the model `bigram`, each [time]."""

    seen: Tensor  # how often the input token was followed by any
    followed: Tensor  # how often by the target
    smoothing: float


@dataclass(frozen=True)
class Change:
    """One parameter in the update."""

    name: str
    shape: tuple[int, ...]
    gradient: float  # norm, before clipping
    change: float  # norm of what the optimizer added


@dataclass(frozen=True)
class Update:
    """One step of the run's optimizer, without moments from before, on this text alone."""

    optimizer: str  # its class in torch
    lr: float
    gradient: float  # norm over all parameters, before clipping
    changes: list[Change]
    loss: float  # on the same text, after the update; nats per token


@dataclass(frozen=True)
class Trace:
    """All stages of one text of T tokens; what a model lacks is None or empty."""

    ids: list[int]  # inputs
    target_ids: list[int]  # the token after each of them
    vocabulary: list[str]  # each token made visible
    embeddings: Embeddings | None
    layers: list[Layer]
    perceptron: Perceptron | None
    counts: Counts | None
    logits: Tensor  # [T, vocab]
    losses: Tensor  # [T], nats
    update: Update

    @property
    def loss(self) -> float:
        """Mean over the positions, nats per token."""
        return self.losses.mean().item()


def trace_text(
    network: Model, tokenizer: Tokenizer, config: Config, ids: Tensor, lr: float
) -> Trace:
    """Take `ids` [time + 1], of which all but the last are read, through all stages on the CPU.

    Without dropout. `network` stays as it is: the update, with a learning rate of `lr`, is made on
    a copy. Draws nothing.
    """
    inputs, targets = ids[:-1], ids[1:]
    copied = copy.deepcopy(network).eval()  # the hooks and the mode are its own
    logits, given, made = record_activations(copied, inputs)
    return Trace(
        ids=inputs.tolist(),
        target_ids=targets.tolist(),
        vocabulary=[visible(tokenizer, token) for token in range(tokenizer.vocab_size)],
        embeddings=_embeddings(copied, given, made),
        layers=_layers(copied, given, made),
        perceptron=_perceptron(copied, given),
        counts=_counts(copied, inputs, targets),
        logits=logits,
        losses=token_losses(logits[None], targets[None])[0],
        update=_update(copied, config, inputs, targets, lr),
    )


def _embeddings(
    network: Model, given: dict[str, Tensor], made: dict[str, Tensor]
) -> Embeddings | None:
    match network:
        case GPT():
            table, tokens = network.position_table, made["token_table"]
            return Embeddings(
                tokens=tokens,
                positions=None if table is None else table.weight[: len(tokens)].detach().clone(),
                total=given["embd_norm"],
                normed=made["embd_norm"] if network.cfg.embd_norm else None,
            )
        case MLP():
            tokens = made["token_table"]
            return Embeddings(tokens, None, tokens, None)
    return None


@torch.no_grad()
def _layers(network: Model, given: dict[str, Tensor], made: dict[str, Tensor]) -> list[Layer]:
    if not isinstance(network, GPT):
        return []
    return [
        Layer(
            weights=block.attention.attention_weights(given[f"blocks.{i}.attention"][None])[0],  # type: ignore[operator,union-attr]
            before=given[f"blocks.{i}"],
            attention=made[f"blocks.{i}.attention"],
            between=given[f"blocks.{i}.mlp_norm"],
            hidden=made[f"blocks.{i}.mlp.activation"],
            mlp=made[f"blocks.{i}.mlp"],
            after=made[f"blocks.{i}"],
        )
        for i, block in enumerate(network.blocks)
    ]


def _perceptron(network: Model, given: dict[str, Tensor]) -> Perceptron | None:
    if not isinstance(network, MLP):
        return None
    return Perceptron(network.cfg.context, joined=given["up"], hidden=given["head"])


@torch.no_grad()
def _counts(network: Model, inputs: Tensor, targets: Tensor) -> Counts | None:
    if not isinstance(network, Bigram):
        return None
    table = network.counts
    return Counts(table[inputs].sum(dim=1), table[inputs, targets], network.cfg.smoothing)


def _update(model: Model, config: Config, inputs: Tensor, targets: Tensor, lr: float) -> Update:
    """Of `model` itself, in the mode that it is in: a training step of one sequence."""
    runtime = Runtime(torch.device("cpu"), torch.float32)
    optimizer = build_optimizer(config.optim, model)
    update = UpdateStep(model, optimizer, runtime, config.trainer.grad_clip)
    batch = Batch(inputs[None], targets[None])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = update.accumulate(batch, batch_size=1, count=len(targets))
    norms = {name: _norm(p.grad) for name, p in model.named_parameters()}
    update.apply(1, loss, lr)
    changes = [
        Change(name, tuple(p.shape), norms[name], _norm(p.detach() - before[name]))
        for name, p in model.named_parameters()
    ]
    with torch.no_grad():
        after = token_losses(model(batch.inputs), batch.targets).mean().item()
    kind = type(optimizer).__name__
    return Update(kind, lr, update.grad_norm.item(), changes, after)


def _norm(tensor: Tensor | None) -> float:
    return 0.0 if tensor is None else tensor.norm().item()
