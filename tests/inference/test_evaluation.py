"""Evaluation is exact: by hand, once over every target, and without a trace."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptexp.config import Dtype
from gptexp.data.load import split_text
from gptexp.data.read import read_text
from gptexp.data.text import TextCorpus
from gptexp.inference.evaluation import evaluate
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.runtime.device import Hardware, resolve_runtime
from gptexp.tokenizers.char import CharTokenizer

CPU = Hardware(cuda_devices=0, mps=False, bfloat16=frozenset({"cpu"}))


@pytest.fixture
def setting(small, text_file):
    config = small()
    text = read_text(config.data)
    tokenizer = CharTokenizer.of(text)
    splits = split_text(text, config.data, tokenizer, config.model.block_size)
    corpus = TextCorpus(splits, config.model.block_size, 0, torch.device("cpu"))
    network = build_model(config.model, tokenizer.vocab_size, seed=0)
    return network, corpus, tokenizer, resolve_runtime(config.trainer, CPU)


class Uniform(nn.Module):
    """Knows nothing: every token is equally likely."""

    def __init__(self, vocab_size):
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, ids):
        return torch.zeros(*ids.shape, self.vocab_size)


def test_a_uniform_model_loses_ln_of_the_vocabulary_per_token(setting):
    _, corpus, tokenizer, where = setting
    found = evaluate(Uniform(tokenizer.vocab_size), corpus, tokenizer, where, "val", 4)
    assert found.tokens == corpus.size("val") - 1
    assert found.loss == pytest.approx(math.log(tokenizer.vocab_size))
    assert found.bpb == pytest.approx(math.log2(tokenizer.vocab_size))  # one byte a character


def test_bits_per_byte_divides_by_the_bytes_of_the_targets(setting):
    _, corpus, tokenizer, where = setting
    wide = CharTokenizer("".join(chr(0x4E00 + i) for i in range(tokenizer.vocab_size)))
    narrow = evaluate(Uniform(tokenizer.vocab_size), corpus, tokenizer, where, "val", 4)
    three = evaluate(Uniform(tokenizer.vocab_size), corpus, wide, where, "val", 4)
    assert three.bpb == pytest.approx(narrow.bpb / 3)


def test_the_loss_is_the_mean_over_windows_one_by_one(setting):
    network, corpus, tokenizer, where = setting
    ids, size = corpus.tokens["val"], corpus.block_size
    network.eval()
    total = 0.0
    for start in range(0, len(ids) - 1, size):
        x, y = ids[start : start + size][: len(ids) - 1 - start], ids[start + 1 : start + 1 + size]
        total += F.cross_entropy(network(x[None])[0], y, reduction="sum").item()
    found = evaluate(network, corpus, tokenizer, where, "val", 4)
    assert found.loss == pytest.approx(total / (len(ids) - 1), rel=1e-6)


def test_a_limit_takes_the_first_tokens_alone(setting):
    network, corpus, tokenizer, where = setting
    limited = evaluate(network, corpus, tokenizer, where, "train", 4, limit=50)
    assert limited.tokens == 49
    corpus.tokens["train"] = corpus.tokens["train"][:50]
    assert evaluate(network, corpus, tokenizer, where, "train", 4) == limited


def test_it_draws_nothing_and_leaves_the_mode_alone(setting):
    network, corpus, tokenizer, where = setting
    network.train()
    before = torch.get_rng_state()
    first = evaluate(network, corpus, tokenizer, where, "val", 4)
    assert evaluate(network, corpus, tokenizer, where, "val", 4) == first
    assert torch.equal(before, torch.get_rng_state())
    assert network.training


def test_losses_are_computed_in_float32_for_half_precision_logits():
    logits = torch.randn(2, 3, 5).bfloat16()
    losses = token_losses(logits, torch.zeros(2, 3, dtype=torch.int64))
    assert losses.dtype is torch.float32
    assert losses.shape == (2, 3)


def test_bfloat16_on_a_cpu_trains_and_is_close(small, tmp_path):
    from gptexp.experiment.run import run_experiment

    full = run_experiment(small("model.dropout=0"), tmp_path / "outputs")
    half = run_experiment(small("model.dropout=0", "trainer.dtype=bfloat16"), tmp_path / "outputs")
    assert half.best_val_loss == pytest.approx(full.best_val_loss, abs=0.02)
    assert half.best_val_loss != full.best_val_loss
    assert resolve_runtime(small("trainer.dtype=bfloat16").trainer, CPU).dtype is torch.bfloat16
    assert small().trainer.dtype is Dtype.auto
