"""The GPT: counts, initialisation, causality, and that it learns."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gptexp.config import Activation, Config, GPTConfig, Norm, Position
from gptexp.models.attention import Attention
from gptexp.models.build import build_model
from gptexp.models.counts import count_parameters, flops_per_token, training_memory
from gptexp.models.gpt import GPT
from gptexp.models.norm import NormLayer
from gptexp.runtime.device import Runtime

VOCAB = 65
FLOAT32 = Runtime(torch.device("cpu"), torch.float32)

# Claim 2: with biases as the presets have them, and without.
COUNTS = {
    "tiny": (437_888, 434_944),
    "small": (3_241_728, 3_230_208),
    "medium": (10_770_816, 10_745_088),
}


@pytest.fixture
def cfg(small: Callable[..., Config]) -> GPTConfig:
    return small("model.dropout=0").model


@pytest.mark.parametrize("name", COUNTS)
def test_presets_have_the_published_parameter_counts(composed, name):
    cfg = composed(f"model={name}").model
    with_bias, without = COUNTS[name]
    assert sum(count_parameters(cfg, VOCAB).values()) == with_bias
    assert sum(count_parameters(replace(cfg, bias=False), VOCAB).values()) == without
    with torch.device("meta"):
        network = GPT(cfg, VOCAB)
    assert sum(p.numel() for p in network.parameters()) == with_bias


def test_medium_spends_on_its_tables_what_claim_2_says(composed):
    cfg = composed("model=medium").model
    counts = count_parameters(cfg, VOCAB)
    assert counts["token table"] == 65 * 384
    assert counts["position table"] == 256 * 384
    untied = count_parameters(replace(cfg, tie_head=False), VOCAB)
    assert sum(untied.values()) - sum(counts.values()) == 24_960


SWITCHES = [
    {"norm": Norm.rmsnorm},
    {"norm": Norm.rmsnorm, "norm_gain": False},
    {"norm_gain": False},
    {"activation": Activation.relu},
    {"bias": False},
    {"position": Position.none},
    {"embd_norm": True},
    {"final_norm": False},
    {"tie_head": False},
    {"norm_eps": 1.0},
]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_counts_as_the_formula_and_runs(cfg, switch):
    network = build_model(replace(cfg, **switch), VOCAB, seed=0)  # build asserts the count
    logits = network(torch.randint(VOCAB, (2, cfg.block_size)))
    assert logits.shape == (2, cfg.block_size, VOCAB)
    logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("norm", list(Norm))
def test_norms_add_their_eps_before_the_root(cfg, norm):
    x = torch.tensor([[3.0, -3.0, 3.0, -3.0]])  # of mean 0 and mean square 9
    layer = NormLayer(replace(cfg, norm=norm, n_embd=4, bias=False, norm_eps=7.0))
    torch.testing.assert_close(layer(x), x / 4)


def test_the_switches_reach_micro_gpt_with_4192_parameters(cfg):
    micro = replace(
        cfg,
        n_layer=1,
        n_head=4,
        n_embd=16,
        block_size=16,
        bias=False,
        norm=Norm.rmsnorm,
        norm_gain=False,
        embd_norm=True,
        final_norm=False,
        activation=Activation.relu,
        tie_head=False,
    )
    assert sum(p.numel() for p in build_model(micro, 27, seed=0).parameters()) == 4_192


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_a_token_never_sees_what_follows_it(cfg, switch):
    network = build_model(replace(cfg, **switch, init_std=0.5), VOCAB, seed=0).eval()
    ids = torch.randint(VOCAB, (1, cfg.block_size))
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % VOCAB
    before, after = network(ids)[0], network(changed)[0]
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5:], after[5:])


def test_the_fused_attention_equals_the_textbook_formula(cfg):
    attention = Attention(cfg)
    x = torch.randn(2, 8, cfg.n_embd)
    q, k, v = attention.qkv(x).split(cfg.n_embd, dim=-1)
    size = cfg.n_embd // cfg.n_head
    heads = []
    for start in range(0, cfg.n_embd, size):
        part = slice(start, start + size)
        scores = q[..., part] @ k[..., part].transpose(-2, -1) / math.sqrt(size)
        scores = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    expected = attention.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x), expected)


def test_the_first_loss_is_near_ln_of_the_vocabulary(composed):
    cfg = composed("model=tiny").model
    network = build_model(cfg, VOCAB, seed=0)
    ids = torch.randint(VOCAB, (4, cfg.block_size + 1))
    loss = F.cross_entropy(network(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(VOCAB)) < 0.1


def test_one_batch_can_be_learned_by_heart(cfg):
    network = build_model(replace(cfg, n_embd=32), VOCAB, seed=0)
    ids = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(150):
        loss = F.cross_entropy(network(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_initialisation_follows_the_table_in_its_docstring(composed):
    cfg = composed("model=tiny").model
    parameters = dict(build_model(cfg, VOCAB, seed=0).named_parameters())
    for name, parameter in parameters.items():
        if name.endswith("bias"):
            assert torch.all(parameter == 0), name
        elif "norm" in name:
            assert torch.all(parameter == 1), name
        else:
            scaled = cfg.init_std / math.sqrt(2 * cfg.n_layer)
            std = scaled if "proj" in name else cfg.init_std
            assert abs(parameter.std().item() / std - 1) < 0.05, name
            assert abs(parameter.mean().item()) < 0.05 * std, name


def test_the_same_seed_builds_the_same_model_and_another_does_not(cfg):
    one, same, other = (build_model(cfg, VOCAB, seed).token_table.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_tied_head_is_the_token_table(cfg):
    network = build_model(cfg, VOCAB, seed=0)
    assert network.head.weight is network.token_table.weight
    untied = build_model(replace(cfg, tie_head=False), VOCAB, seed=0)
    assert untied.head.weight is not untied.token_table.weight


def test_flops_of_medium_agree_with_the_formula_by_hand(composed):
    cfg = composed("model=medium").model
    by_hand = 6 * (6 * 12 * 384**2 + 65 * 384) + 12 * 6 * 384 * 256
    assert flops_per_token(cfg, VOCAB) == by_hand


@pytest.mark.parametrize("block_size", [32, 128, 150])  # of attention's blocks: part, two, more
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_activations_of_the_estimate_are_those_that_autograd_keeps(
    composed, kept_by_autograd, dropout, block_size
) -> None:
    sizes = ["model.n_embd=64", f"model.block_size={block_size}"]
    cfg = composed("model=small", f"model.dropout={dropout}", *sizes).model
    layers = GPT.saved_activations(cfg) - 12 * cfg.n_embd  # which the backward pass adds
    estimate = layers + GPT.saved_by_dropout(cfg)
    assert kept_by_autograd(cfg) == pytest.approx(estimate, rel=0.05)
    assert (GPT.saved_by_dropout(cfg) > 0) == (dropout > 0)


def test_dropout_takes_its_memory_on_a_cpu_alone(composed) -> None:
    cfg = composed("model=tiny", "model.dropout=0.2").model
    without = training_memory(replace(cfg, dropout=0.0), VOCAB, 64, FLOAT32)
    on_card = replace(FLOAT32, device=torch.device("cuda"))
    assert training_memory(cfg, VOCAB, 64, on_card) == without
    kept = 4 * 64 * cfg.block_size * GPT.saved_by_dropout(cfg)
    assert training_memory(cfg, VOCAB, 64, FLOAT32) == without + kept


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_estimate_of_memory_is_in_the_numbers_of_the_arithmetic(
    composed, kept_by_autograd, dtype, dropout
) -> None:
    sizes = ["model.n_embd=64", "model.block_size=150", f"model.dropout={dropout}"]
    cfg, runtime = composed("model=small", *sizes).model, Runtime(torch.device("cpu"), dtype)
    wide, tokens = runtime.weights.itemsize, 2 * cfg.block_size
    state = 4 * wide * sum(count_parameters(cfg, VOCAB).values())
    in_backward = tokens * (12 * cfg.n_embd * dtype.itemsize + VOCAB * (3 * wide + dtype.itemsize))
    estimate = training_memory(cfg, VOCAB, 2, runtime) - state - in_backward
    kept = 4 * tokens * kept_by_autograd(cfg, dtype)
    if dtype.itemsize == 2:  # but inputs of norms in float32, and torch's own dropout, are more
        assert 0.5 * kept < estimate < kept
    else:
        assert estimate == pytest.approx(kept, rel=0.05)


GPT2 = {  # parameters with the 50,257 tokens: what OpenAI's checkpoints hold
    "gpt2": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
}


@pytest.mark.parametrize("name", GPT2)
def test_gpt2_has_the_published_parameters_and_switches(composed, name) -> None:
    cfg = composed(f"model={name}").model
    assert sum(count_parameters(cfg, 50_257).values()) == GPT2[name]
    with torch.device("meta"):
        network = GPT(cfg, 50_257)
    assert sum(p.numel() for p in network.parameters()) == GPT2[name]
    assert (cfg.block_size, cfg.head_width, cfg.hidden) == (1024, 64, 4 * cfg.n_embd)
    assert (cfg.activation, cfg.position) == (Activation.gelu_tanh, Position.learned)
    assert (cfg.norm, cfg.norm_eps) == (Norm.layernorm, 1e-5)
    assert (cfg.init_std, cfg.scale_residuals) == (0.02, True)
    assert cfg.bias and cfg.tie_head and cfg.final_norm and not cfg.embd_norm


def test_gpt2_124m_is_nanogpt_s_setting(composed) -> None:
    config = composed("experiment=gpt2_124m")
    model, optim, trainer = config.model, config.optim, config.trainer
    assert sum(count_parameters(model, 50_257).values()) == 124_337_664  # theirs has no biases
    assert (model.bias, model.activation, model.dropout) == (False, Activation.gelu, 0.0)
    assert (trainer.batch_size, model.block_size, trainer.grad_accum) == (12, 1024, 40)
    assert (trainer.max_steps, config.schedule.warmup_steps) == (600_000, 2_000)
    lowest = optim.lr * config.schedule.final_fraction
    assert (optim.lr, lowest) == pytest.approx((6e-4, 6e-5))
    assert (optim.beta1, optim.beta2, optim.weight_decay) == (0.9, 0.95, 0.1)
    assert (trainer.grad_clip, trainer.eval_interval) == (1.0, 1_000)
    assert trainer.eval_tokens == 200 * 12 * 1024
