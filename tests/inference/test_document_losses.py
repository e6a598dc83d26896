"""Losses of documents and their gradients: those of each one alone, whatever the padding."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from document_lines import BLOCK_SIZE, CPU, as_microgpt, corpus, numbered
from torch import nn

from gptexp.data.corpus import IGNORE_INDEX, Batch
from gptexp.inference.evaluation import Evaluator
from gptexp.models.build import build_model
from gptexp.runtime.device import Runtime
from gptexp.training.step import UpdateStep

LINES = numbered(40)  # 36 to train on
FLOAT32 = Runtime(CPU, torch.float32)  # so autocast does nothing; the network decides
KINDS = ["model=micro", "model=mlp model.context=3", "model=bigram"]


@pytest.fixture
def built(composed):
    """`built("model=micro", tokenizer)`: the network in float64, with large weights."""

    def call(words, tokenizer):
        cfg = composed(*words.split(), f"model.block_size={BLOCK_SIZE}").model
        if words != "model=bigram":
            cfg.init_std = 0.5
        network = build_model(cfg, tokenizer.vocab_size, seed=0)
        if words == "model=bigram":
            nn.init.uniform_(network.counts, 0, 9, generator=torch.Generator().manual_seed(0))
        return network.double()

    return call


def one_by_one(network, lines, tokenizer, block_size=BLOCK_SIZE):
    """For each document its summed loss, a scalar tensor, and how many targets it has."""
    found = []
    for line in lines:
        inputs, targets = as_microgpt(line, tokenizer, block_size)
        logits = network(torch.tensor([inputs]))[0]
        found.append((F.cross_entropy(logits, torch.tensor(targets), reduction="sum"), targets))
    return found


# Evaluation


@pytest.mark.parametrize("words", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_evaluation_is_the_mean_over_documents_one_by_one(built, words, batch_size):
    source, tokenizer = corpus(LINES, val_fraction=0.5)
    network = built(words, tokenizer)
    found = Evaluator(network, source, tokenizer, FLOAT32, batch_size).evaluate("val")
    with torch.no_grad():
        each = one_by_one(network, LINES[20:], tokenizer)
    sums = np.array([loss.item() for loss, _ in each])
    sizes = np.array([len(targets) for _, targets in each])
    assert found.tokens == sizes.sum() == source.tokens_per_epoch("val")
    assert found.loss == pytest.approx(sums.sum() / sizes.sum(), rel=1e-13)
    residuals = sums - found.loss * sizes
    by_hand = math.sqrt(len(sizes) * residuals.var(ddof=1)) / sizes.sum()
    assert found.stderr == pytest.approx(by_hand, rel=1e-9)
    written = "".join(tokenizer.decode(targets) for _, targets in each)
    bits = sums.sum() / math.log(2)
    assert found.bpb == pytest.approx(bits / len(written.encode()), rel=1e-13)


class Uniform(nn.Module):
    """Every token is equally likely."""

    def forward(self, ids):
        return torch.zeros(*ids.shape, 4)


def test_bits_per_byte_count_the_end_of_a_document_as_one_byte():
    """ab and é: five targets of one, one, one, two and one bytes, two bits each."""
    source, tokenizer = corpus(["a", "ab", "é"], val_fraction=0.6)
    found = Evaluator(Uniform(), source, tokenizer, FLOAT32, 8).evaluate("val")
    assert found.tokens == 5
    assert found.loss == pytest.approx(math.log(4))
    assert found.bpb == pytest.approx(5 * 2 / 6)


def test_a_limited_evaluation_is_that_of_the_first_documents(built):
    source, tokenizer = corpus(LINES)
    network = built("model=micro", tokenizer)
    limited = Evaluator(network, source, tokenizer, FLOAT32, 4).evaluate("train", limit=20)
    with torch.no_grad():
        each = one_by_one(network, LINES[:3], tokenizer)  # of 3, 8 and 4 targets; the next has 8
    assert limited.tokens == 15
    assert limited.loss == pytest.approx(sum(loss.item() for loss, _ in each) / 15, rel=1e-13)


# Gradients


def gradients(network, batch):
    """Of the mean loss over the targets of the batch."""
    update = UpdateStep(network, torch.optim.SGD(network.parameters()), FLOAT32, grad_clip=0.0)
    update.accumulate(batch, len(batch.inputs), int((batch.targets != IGNORE_INDEX).sum()))
    found = [p.grad.clone() for p in network.parameters()]
    update.clear()
    return found


@pytest.mark.parametrize("words", KINDS)
def test_a_padded_batch_has_the_gradient_of_its_documents_weighted_by_tokens(built, words):
    lines = ["0", "123", "456789ab", "rest"]
    source, tokenizer = corpus(lines, rows=3, val_fraction=0.2)
    network = built(words, tokenizer)
    batch = source.batch(0)
    assert (batch.targets == IGNORE_INDEX).sum() == 6 + 4
    together = gradients(network, batch)
    alone = [torch.zeros_like(p) for p in network.parameters()]
    for line in lines[:3]:
        row = Batch(*(torch.tensor([part]) for part in as_microgpt(line, tokenizer, BLOCK_SIZE)))
        # Counts are added up, and are no mean.
        share = 1.0 if words == "model=bigram" else row.targets.numel() / 14
        alone = [a + share * g for a, g in zip(alone, gradients(network, row), strict=True)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)
        assert other.abs().max() > 1e-3
