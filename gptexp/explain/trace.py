"""One text on its way through a model: the numbers of every stage, and of one update.

They are those of the real forward pass, kept by hooks; only the attention weights, which the fused
kernel does not give, come from Attention.attention_weights. Nothing is printed here: see render.py.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from gptexp import plugins
from gptexp.config import Config
from gptexp.data.corpus import Batch
from gptexp.inference.loss import token_losses
from gptexp.inference.probe import visible
from gptexp.models.base import Model
from gptexp.models.bigram import Bigram
from gptexp.models.gpt import GPT, Block
from gptexp.models.hooks import record_activations
from gptexp.models.mlp import MLP
from gptexp.optim.build import build_optimizer
from gptexp.runtime.device import Runtime
from gptexp.tokenizers.base import Tokenizer
from gptexp.training.step import UpdateStep

Activations = dict[str, Tensor]  # by submodule, see record_activations


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
    sees: Tensor  # where they may, [time, time]
    before: Tensor  # the stream that comes in
    attention: Tensor  # what attention adds
    between: Tensor  # the stream after that
    hidden: Tensor  # units of the MLP after the nonlinearity, [time, hidden]
    on: Tensor  # where they, or their gates if they have any, are positive
    mlp: Tensor  # what the MLP adds
    after: Tensor  # the stream that goes out


@dataclass(frozen=True)
class Perceptron:
    """The values of the model `mlp` between its embeddings and its logits."""

    context: int  # tokens that each position sees
    joined: Tensor  # their embeddings side by side, [time, context * n_embd]
    hidden: Tensor  # [time, n_hidden]


@dataclass(frozen=True)
class Counts:
    """The counts of the model `bigram` behind each position, each [time]."""

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
        """The mean over the positions, in nats per token."""
        return self.losses.mean().item()


def trace_text(model: Model, tokenizer: Tokenizer, config: Config, ids: Tensor, lr: float) -> Trace:
    """Take `ids` [time + 1], of which all but the last are read, through all stages on the CPU.

    Without dropout. `model` stays as it is: the update, with a learning rate of `lr`, is made on
    a copy. No random number is drawn.
    """
    inputs, targets = ids[:-1], ids[1:]
    copied = copy.deepcopy(model).eval()  # the hooks and the mode are its own
    logits, inputs_of, outputs_of = record_activations(copied, inputs)
    known = copied if plugins.own(model.cfg) is None else None  # parts with a meaning here
    return Trace(
        ids=inputs.tolist(),
        target_ids=targets.tolist(),
        vocabulary=[visible(tokenizer, token) for token in range(tokenizer.vocab_size)],
        embeddings=_embeddings(known, inputs_of, outputs_of),
        layers=_layers(known, inputs, inputs_of, outputs_of),
        perceptron=_perceptron(known, inputs_of),
        counts=_counts(known, inputs, targets),
        logits=logits,
        losses=token_losses(logits[None], targets[None])[0],
        update=_update(copied, config, inputs, targets, lr),
    )


def _embeddings(
    model: Model | None, inputs_of: Activations, outputs_of: Activations
) -> Embeddings | None:
    match model:
        case GPT():
            table, tokens = model.position_table, outputs_of["token_table"]
            return Embeddings(
                tokens=tokens,
                positions=None if table is None else table.weight[: len(tokens)].detach().clone(),
                total=inputs_of["embd_norm"],
                normed=outputs_of["embd_norm"] if model.cfg.embd_norm else None,
            )
        case MLP():
            tokens = outputs_of["token_table"]
            return Embeddings(tokens, None, tokens, None)
    return None


@torch.no_grad()
def _layers(
    model: Model | None, ids: Tensor, inputs_of: Activations, outputs_of: Activations
) -> list[Layer]:
    if not isinstance(model, GPT):
        return []
    time, documents = len(ids), model.documents(ids[None])
    layers = []
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        name, attention = f"blocks.{i}", block.attention
        hidden = outputs_of[f"{name}.mlp.activation"]
        gates = inputs_of[f"{name}.mlp.activation"].chunk(2, dim=-1)[0]
        layers.append(
            Layer(
                weights=attention.attention_weights(
                    inputs_of[f"{name}.attention"][None], documents
                )[0],
                sees=~attention.unseen(time, ids.device, documents).view(time, time),
                before=inputs_of[name],
                attention=outputs_of[f"{name}.attention"],
                between=inputs_of[f"{name}.mlp_norm"],
                hidden=hidden,
                on=(gates if model.cfg.activation.gated else hidden) > 0,
                mlp=outputs_of[f"{name}.mlp"],
                after=outputs_of[name],
            )
        )
    return layers


def _perceptron(model: Model | None, inputs_of: Activations) -> Perceptron | None:
    if not isinstance(model, MLP):
        return None
    return Perceptron(model.cfg.context, joined=inputs_of["up"], hidden=inputs_of["head"])


@torch.no_grad()
def _counts(model: Model | None, inputs: Tensor, targets: Tensor) -> Counts | None:
    if not isinstance(model, Bigram):
        return None
    table = model.counts
    return Counts(table[inputs].sum(dim=1), table[inputs, targets], model.cfg.smoothing)


def _update(model: Model, config: Config, inputs: Tensor, targets: Tensor, lr: float) -> Update:
    """Take a training step of one sequence with `model` itself, in the mode that it is in."""
    runtime = Runtime(torch.device("cpu"), next(model.parameters()).dtype)
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
