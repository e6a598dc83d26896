"""Every combination that a pairwise covering set of the GPT's switches contains."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from switches import COMBINATIONS, SWITCHES, words

from gptexp.config import Activation, GPTConfig, check
from gptexp.data.corpus import Batch
from gptexp.errors import ConfigError
from gptexp.models import causal
from gptexp.models import dropout as masks
from gptexp.models.activation import build_activation
from gptexp.models.attention import Attention
from gptexp.models.build import build_model
from gptexp.models.gpt import GPT
from gptexp.models.rope import Rope
from gptexp.runtime.device import Runtime
from gptexp.training import loss_scale
from gptexp.training.step import UpdateStep

VOCAB = 11

every_combination = pytest.mark.parametrize("switches", COMBINATIONS, ids=words)


@pytest.fixture
def base(small) -> GPTConfig:
    cfg = small("model.dropout=0").model
    return replace(cfg, n_layer=2, n_head=4, n_embd=32, block_size=12)


def awake(model: GPT) -> GPT:
    """With weights that are far from 0, so that a mistake shows, in float64."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.double().eval()


def some_ids(rows: int, time: int) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, time), generator=torch.Generator().manual_seed(2))


def test_any_two_choices_stand_together_in_a_combination():
    for one, other in combinations(SWITCHES, 2):
        for first in SWITCHES[one]:
            for second in SWITCHES[other]:
                assert any(c[one] == first and c[other] == second for c in COMBINATIONS)


@every_combination
def test_it_counts_as_the_formulas_and_every_parameter_learns(base, switches):
    cfg = replace(base, **switches)
    model = build_model(cfg, VOCAB, seed=0)  # which asserts the count
    ids = some_ids(2, cfg.block_size)
    awake(model)(ids).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.ndim > 1 and "blocks" in n)
    seen = sum(min(cfg.window_of(layer) or 12, 12) for layer in range(2))
    assert GPT.flops_per_token(cfg, VOCAB) == 6 * (matrices + VOCAB * 32) + 12 * 32 * seen


@every_combination
def test_a_token_never_sees_what_follows_it_and_sees_what_its_windows_let_through(base, switches):
    cfg = replace(base, **switches)
    model = awake(build_model(cfg, VOCAB, seed=0))
    ids = some_ids(1, cfg.block_size)
    changed = ids.clone()
    changed[0, 2] = (ids[0, 2] + 1) % VOCAB
    with torch.no_grad():
        differs = (model(ids) != model(changed))[0].any(dim=-1)
    reach = sum((cfg.window_of(layer) or cfg.block_size) - 1 for layer in range(cfg.n_layer))
    assert not differs[:2].any()
    assert differs[2 : 3 + reach].all()
    assert not differs[3 + reach :].any()


@every_combination
def test_the_first_loss_is_near_ln_of_the_vocabulary(base, switches):
    model = build_model(replace(base, **switches, init_std=0.02), VOCAB, seed=0).eval()
    ids = some_ids(16, 13)
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(VOCAB)) < 0.1


@every_combination
def test_one_batch_can_be_learned_by_heart(base, switches):
    model = build_model(replace(base, **switches | {"dropout": 0.0}), VOCAB, seed=0)
    ids = some_ids(2, 9)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    for _ in range(200):
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.1:
            return
    pytest.fail(f"a loss of {loss.item():.3f} after 200 steps")


@every_combination
@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 5], [12]], ids=str)
def test_reading_with_a_cache_gives_the_logits_of_reading_at_once(base, switches, pieces):
    model = awake(build_model(replace(base, **switches), VOCAB, seed=0))
    ids, cache = some_ids(3, 12), model.new_cache()
    with torch.no_grad():
        parts = [model(piece, cache) for piece in ids.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), rtol=0, atol=1e-9)
    assert cache.length == 12
    with pytest.raises(IndexError):
        model(ids[:, :1], cache)


@every_combination
def test_the_maps_of_attention_are_what_the_kernels_computed(base, switches):
    cfg = replace(base, **switches)
    model = awake(build_model(cfg, VOCAB, seed=0))
    seen: dict[Attention, list[torch.Tensor]] = {}
    for block in model.blocks:
        attention = block.attention
        attention.register_forward_pre_hook(lambda owner, given: seen.update({owner: [given[0]]}))
        attention.proj.register_forward_pre_hook(
            lambda _, given, owner=attention: seen[owner].append(given[0])
        )
    with torch.no_grad():
        model(some_ids(2, 12))
        for attention, (given, before_projection) in seen.items():
            weights = attention.attention_weights(given)
            values = attention.heads(given)[2]
            group = cfg.n_head // cfg.kv_heads
            mixed = torch.stack(
                [weights[:, h] @ values[:, h // group] for h in range(cfg.n_head)], dim=1
            )
            again = mixed.transpose(1, 2).flatten(2)
            torch.testing.assert_close(again, before_projection, rtol=0, atol=1e-9)
            rows, columns = torch.arange(12)[:, None], torch.arange(12)
            window = cfg.window_of(attention.layer) or 12
            assert ((weights > 0) == (columns <= rows) & (columns > rows - window)).all()


@pytest.mark.parametrize("width", [None, 5, 3, 1])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("long", [1, 512], ids=["in_pieces", "by_a_mask"])
def test_gradients_with_windows_and_groups_are_those_of_the_textbook(
    width, dropout, long, monkeypatch
):
    monkeypatch.setattr(causal, "LONG", long)
    monkeypatch.setattr(causal, "WINDOWS", 2)
    monkeypatch.setattr(masks, "ROWS", 4)
    monkeypatch.setattr(masks, "AT_ONCE", 100)
    monkeypatch.setattr(masks, "_dropped", lambda p: 0)  # the path with masks, that drop nothing
    torch.manual_seed(0)
    q = torch.randn(2, 4, 11, 6, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 2, 11, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    k_of, v_of = (x.repeat_interleave(2, dim=1) for x in (k, v))
    rows, columns = torch.arange(11)[:, None], torch.arange(11)
    sees = (columns <= rows) & (columns > rows - (width or 11))
    scores = (q @ k_of.mT / math.sqrt(6)).masked_fill(~sees, -torch.inf)
    theirs = scores.softmax(-1) @ v_of
    ours = causal.causal_attention(q, k, v, dropout, width)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    for found, expected in zip(
        torch.autograd.grad(ours, (q, k, v), weights),
        torch.autograd.grad(theirs, (q, k, v), weights),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_rope_turns_pairs_by_their_position_and_products_know_the_distance_alone():
    rope = Rope(width=6, positions=50, base=100.0)
    x = torch.randn(6)
    turned = rope(x.expand(50, 1, 6))[:, 0]
    for position in (0, 1, 7):
        for pair in range(3):
            angle = position * 100.0 ** (-2 * pair / 6)
            turn = complex(math.cos(angle), math.sin(angle))
            expected = complex(x[2 * pair], x[2 * pair + 1]) * turn
            found = complex(turned[position, 2 * pair], turned[position, 2 * pair + 1])
            assert abs(found - expected) < 1e-5
    q, k = (rope(torch.randn(6).expand(50, 1, 6))[:, 0] for _ in range(2))
    assert (q[9] @ k[4]).item() == pytest.approx((q[45] @ k[40]).item(), abs=1e-4)
    torch.testing.assert_close(rope(x[None, None], start=7)[0, 0], turned[7])
    assert rope(x.bfloat16().expand(2, 1, 6)).dtype is torch.bfloat16


def test_rope_is_the_same_in_the_arithmetic_of_a_compiler(monkeypatch):
    rope, x = Rope(width=8, positions=9, base=10.0), torch.randn(2, 9, 3, 8)
    plain = rope(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rope(x), plain)


@pytest.mark.parametrize("kind", Activation)
def test_activations_are_their_formulas(kind):
    def gelu(x: float) -> float:
        return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))

    def silu(x: float) -> float:
        return x / (1 + math.exp(-x))

    def tanh_gelu(x: float) -> float:
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    plain = {
        Activation.gelu: gelu,
        Activation.gelu_tanh: tanh_gelu,
        Activation.relu: lambda x: max(x, 0),
        Activation.relu2: lambda x: max(x, 0) ** 2,
        Activation.silu: silu,
        Activation.swiglu: silu,
        Activation.geglu: gelu,
    }[kind]
    x = torch.linspace(-3, 3, 8, dtype=torch.float64)
    expected = [plain(value) for value in x.tolist()]
    if kind.gated:
        expected = [gate * value for gate, value in zip(expected[:4], x[4:].tolist(), strict=True)]
    assert build_activation(kind)(x).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_gate_takes_a_third_of_the_units_for_equal_parameters(base):
    for width in (64, 128, 256, 384, 768):
        plain = replace(base, n_embd=width, bias=False)
        gated = replace(plain, activation=Activation.swiglu)
        counts = [GPT.count_parameters(cfg, VOCAB)["mlp"] for cfg in (plain, gated)]
        assert counts[1] == pytest.approx(counts[0], rel=0.02)


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "laptop"])
def test_the_modern_presets_are_as_large_as_the_others(composed, name):
    modern, plain = (composed(f"model={each}").model for each in (f"modern_{name}", name))
    counts = [sum(GPT.count_parameters(cfg, 65).values()) for cfg in (modern, plain)]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
    assert (modern.n_layer, modern.n_embd, modern.block_size) == (
        plain.n_layer,
        plain.n_embd,
        plain.block_size,
    )


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("n_kv_head", [None, 1])
@pytest.mark.parametrize("more", [{}, {"qk_norm": True, "window": [40, 0]}])
def test_the_memory_of_the_estimate_is_what_autograd_keeps(
    composed, kept_by_autograd, activation, n_kv_head, more
):
    cfg = composed("model=small", "model.n_embd=64", "model.block_size=128").model
    for dropout in (0.0, 0.2):
        chosen = {"activation": activation, "n_kv_head": n_kv_head, "dropout": dropout, **more}
        cfg = replace(cfg, **chosen)
        estimate = GPT.saved_activations(cfg) - 12 * cfg.n_embd + GPT.saved_by_dropout(cfg)
        assert kept_by_autograd(cfg) == pytest.approx(estimate, rel=0.15)


REFUSED = {
    "model.n_kv_head=3": "model.n_kv_head: 3 does not divide model.n_head=4. "
    "Fix: model.n_kv_head=2",
    "model.n_kv_head=0": "model.n_kv_head: 0 is below 1. Fix: model.n_kv_head=1 or more",
    "model.window=[-1]": "model.window: -1 is no number of tokens. "
    "Fix: 'model.window=[64,0]', 0 for the whole context",
    "model.mlp_width=0": "model.mlp_width: 0 is below 1. Fix: model.mlp_width=1 or more",
    "model.position=rope model.n_embd=12": "model.position: rope turns pairs of numbers, and heads "
    "are 3 wide. Fix: model.n_embd=16, or model.position=learned",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_does_not_go_together_is_refused_in_one_line(composed, overrides):
    with pytest.raises(ConfigError) as refused:
        check(composed("model.n_head=4", *overrides.split()))
    assert str(refused.value) == REFUSED[overrides]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_combination
def test_gradients_in_16_bits_are_near_those_in_32(base, switches, dtype, monkeypatch):
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**8)  # of weights so large the gradients are, too
    cfg, ids = replace(base, **{**switches, "dropout": 0.0}), some_ids(4, 13)
    batch, gradients = Batch(ids[:, :-1], ids[:, 1:]), []
    for each in (torch.float32, dtype):
        network = awake(build_model(cfg, VOCAB, 0)).float()
        optimizer = torch.optim.SGD(network.parameters())
        update = UpdateStep(network, optimizer, Runtime(torch.device("cpu"), each), grad_clip=0.0)
        update.accumulate(batch, 2, batch.targets.numel())
        update.scale.unscale(optimizer)
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    full, half = gradients
    assert torch.isfinite(half).all()
    assert torch.cosine_similarity(full, half, dim=0) > 0.99
    assert not torch.equal(full, half)
