"""Evaluation is exact: by hand, once over every target, and without a trace."""

import math
import weakref
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptexp.config import Dtype
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.data.load import load_corpus
from gptexp.experiment.run import run_experiment
from gptexp.inference import evaluation, loss, mixed
from gptexp.inference.evaluation import Evaluation, Evaluator, standard_error
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.runtime.device import Hardware, resolve_runtime
from gptexp.tokenizers.char import CharTokenizer

CPU = Hardware(cuda_devices=0, mps=False, bfloat16=frozenset({"cpu"}))


@pytest.fixture
def evaluator(small):
    """Of a fresh model on the text file, four windows at a time."""
    config = small()
    text = load_corpus(config.data, config.tokenizer, config.model.block_size)
    network = build_model(config.model, text.tokenizer.vocab_size, seed=0)
    corpus = text.corpus(4, 0, torch.device("cpu"))
    return Evaluator(network, corpus, text.tokenizer, resolve_runtime(config.trainer, CPU), 4)


class Uniform(nn.Module):
    """Knows nothing: every token is equally likely."""

    def __init__(self, vocab_size):
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, ids):
        return torch.zeros(*ids.shape, self.vocab_size)


@pytest.fixture
def uniform(evaluator):
    return replace(evaluator, model=Uniform(evaluator.tokenizer.vocab_size))


def test_a_uniform_model_loses_ln_of_the_vocabulary_per_token(uniform):
    found = uniform.evaluate("val")
    vocab_size = uniform.tokenizer.vocab_size
    assert found.tokens == len(uniform.corpus.tokens["val"]) - 1
    assert found.loss == pytest.approx(math.log(vocab_size))
    assert found.bpb == pytest.approx(math.log2(vocab_size))  # one byte a character


def test_bits_per_byte_divides_by_the_bytes_of_the_targets(uniform):
    vocab_size = uniform.tokenizer.vocab_size
    wide = CharTokenizer("".join(chr(0x4E00 + i) for i in range(vocab_size)))
    three = replace(uniform, tokenizer=wide).evaluate("val")
    assert three.bpb == pytest.approx(uniform.evaluate("val").bpb / 3)


def test_the_loss_is_the_mean_over_windows_one_by_one(evaluator):
    network, ids = evaluator.model.eval(), evaluator.corpus.tokens["val"].long()
    size = evaluator.corpus.block_size
    total = 0.0
    for start in range(0, len(ids) - 1, size):
        x, y = ids[start : start + size][: len(ids) - 1 - start], ids[start + 1 : start + 1 + size]
        total += F.cross_entropy(network(x[None])[0], y, reduction="sum").item()
    assert evaluator.evaluate("val").loss == pytest.approx(total / (len(ids) - 1), rel=1e-6)


def test_a_cpu_passes_no_more_at_once_than_its_caches_hold_and_finds_the_same(
    evaluator, monkeypatch
):
    seen = []
    evaluator.model.register_forward_pre_hook(lambda _, ids: seen.append(ids[0].numel()))
    whole = replace(evaluator, batch_size=1000).evaluate("val")
    largest = max(seen)
    seen.clear()
    monkeypatch.setattr(evaluation, "CACHED_TOKENS", largest // 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert replace(evaluator, batch_size=1000).evaluate("val") == whole
    assert largest // 4 < max(seen) <= largest // 2


def test_no_pass_leaves_a_tensor_behind_that_would_keep_the_next_from_its_place(
    evaluator, monkeypatch
):
    added, alive = [], []

    def losses(*of_pass):
        alive.append(sum(reference() is not None for reference in added))
        return token_losses(*of_pass)

    def watched(column, some):
        added.append(weakref.ref(some))
        add(column, some)

    add = evaluation.Column.add
    monkeypatch.setattr(evaluation, "token_losses", losses)
    monkeypatch.setattr(evaluation.Column, "add", watched)
    evaluator.evaluate("val")
    evaluator.each_loss("val")
    assert len(alive) > 10 and set(alive) == {0}


def test_a_limit_takes_the_first_tokens_alone(evaluator):
    limited = evaluator.evaluate("train", limit=50)
    assert limited.tokens == 49
    tokens = evaluator.corpus.tokens
    tokens["train"] = tokens["train"][:50]
    assert evaluator.evaluate("train") == limited


def test_a_row_evaluates_as_much_of_the_training_text_as_validation_has(evaluator):
    val = evaluator.evaluate("val")
    train = evaluator.evaluate("train", limit=len(evaluator.corpus.tokens["val"]))
    assert train.tokens == val.tokens
    assert evaluator.row() == {
        "train/eval_loss": train.loss,
        "val/loss": val.loss,
        "val/bpb": val.bpb,
        "val/stderr": val.stderr,
    }


def test_it_draws_nothing_and_leaves_the_mode_alone(evaluator):
    evaluator.model.train()
    before = torch.get_rng_state()
    first = evaluator.evaluate("val")
    assert evaluator.evaluate("val") == first
    assert torch.equal(before, torch.get_rng_state())
    assert evaluator.model.training


def test_the_standard_error_is_that_of_the_mean_for_windows_of_one_size():
    sums = torch.tensor([8.0, 12.0, 9.0, 11.0, 10.0], dtype=torch.float64)
    sizes = torch.full((5,), 4)
    assert standard_error(sums, sizes) == pytest.approx((sums / 4).std().item() / math.sqrt(5))


def test_the_standard_error_shrinks_with_the_root_of_the_windows():
    generator = torch.Generator().manual_seed(0)
    few, many = (torch.randn(n, generator=generator).double() for n in (1_000, 100_000))
    errors = [standard_error(sums, torch.ones(len(sums))) for sums in (few, many)]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert standard_error(torch.ones(1), torch.ones(1)) == 0.0


def test_losses_are_computed_in_float32_for_half_precision_logits():
    logits = torch.randn(2, 3, 5).bfloat16()
    losses = token_losses(logits, torch.zeros(2, 3, dtype=torch.int64))
    assert losses.dtype is torch.float32
    assert losses.shape == (2, 3)


def test_bfloat16_on_a_cpu_trains_and_is_close(small, tmp_path, quick):
    full = run_experiment(small("model.dropout=0"), tmp_path / "outputs")
    half = run_experiment(small("model.dropout=0", "trainer.dtype=bfloat16"), tmp_path / "outputs")
    assert half.best_val_loss == pytest.approx(full.best_val_loss, abs=0.02)
    assert half.best_val_loss != full.best_val_loss
    assert resolve_runtime(small("trainer.dtype=bfloat16").trainer, CPU).dtype is torch.bfloat16
    assert small().trainer.dtype is Dtype.auto


def test_the_logits_of_a_pass_are_gone_before_the_next_are_made(evaluator):
    class Watched(Uniform):
        made: ClassVar[list] = []

        def forward(self, ids):
            assert all(each() is None for each in self.made)
            logits = super().forward(ids)
            self.made.append(weakref.ref(logits))
            return logits

    watched = replace(evaluator, model=Watched(evaluator.tokenizer.vocab_size))
    watched.evaluate("val")
    watched.each_loss("val")
    assert len(watched.model.made) > 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_losses_of_a_few_tokens_at_a_time_are_the_same_to_the_bit(monkeypatch, dtype):
    logits = torch.randn(7, 5, 300, generator=torch.Generator().manual_seed(0)).to(dtype) * 4
    targets = torch.arange(35).view(7, 5)
    targets[2, 3:] = IGNORE_INDEX
    at_once = token_losses(logits, targets)
    for most in (1, 3 * 300, 17 * 300):
        monkeypatch.setattr(loss, "AT_ONCE", most)
        with torch.no_grad():
            assert torch.equal(token_losses(logits, targets), at_once)


def test_a_part_of_a_mix_without_any_loss_leaves_the_bytes_of_its_tokens_unknown():
    """As of a part that says one thing again and again, which float32 knows for certain."""
    parts = {"dull": Evaluation(0.0, 0.0, 0.0, 9), "text": Evaluation(1.0, 1.2, 0.1, 9)}
    mix = mixed.mean(parts, {"dull": 0.5, "text": 0.5})
    assert mix.loss == 0.5 and math.isnan(mix.bpb)
    assert mixed.mean(parts, {"dull": 0.0, "text": 1.0}).bpb == pytest.approx(1.2)
