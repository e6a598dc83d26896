"""Documents that do not see each other: as if each were read by itself, at its own positions."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from switches import COMBINATIONS, words

from gptexp.config import GPTConfig
from gptexp.data.corpus import Batch
from gptexp.experiment.trial import _hides_documents
from gptexp.inference.dials import Sampling
from gptexp.inference.generate import generate
from gptexp.inference.loss import token_losses
from gptexp.models.attention import Attention
from gptexp.models.build import build_model
from gptexp.models.causal import causal_attention, document_masks
from gptexp.models.dropout import makes_own_masks
from gptexp.models.gpt import GPT
from gptexp.runtime.device import Runtime
from gptexp.training.step import UpdateStep

VOCAB, TIME, BOUNDARY = 11, 12, 0


@pytest.fixture
def base(composed) -> GPTConfig:
    cfg = composed("model=tiny", "model.dropout=0").model
    return replace(cfg, n_layer=2, n_head=4, n_embd=16, block_size=TIME)


def awake(cfg: GPTConfig) -> GPT:
    """A model in float64 with weights that are far from 0, so that a mistake shows."""
    model = build_model(replace(cfg, dropout=0.0), VOCAB, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.boundary = BOUNDARY
    return model.double().eval()


def ids_with(*cuts: set[int]) -> torch.Tensor:
    """Random tokens of several rows, in which documents begin at these places alone."""
    shape = (len(cuts), TIME)
    ids = torch.randint(1, VOCAB, shape, generator=torch.Generator().manual_seed(2))
    for row, places in enumerate(cuts):
        ids[row, list(places)] = BOUNDARY
    return ids


def begun_at(model: GPT, start: int) -> GPT:
    """The same model for a text whose first position is `start`, which tells nothing apart."""
    moved = copy.deepcopy(model)
    moved.boundary = None
    tables = [] if moved.position_table is None else [moved.position_table.weight.data]
    ropes = [m.rope for m in moved.modules() if isinstance(m, Attention) and m.rope is not None]
    for table in (*tables, *(rope.turns for rope in ropes)):
        table.copy_(table.roll(-start, dims=0))
    return moved


@torch.no_grad()
def alone(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    """The logits of each document of `ids` [rows, time] read by itself, put together."""
    rows = []
    for row in ids:
        starts = sorted({0, *(row == BOUNDARY).nonzero()[:, 0].tolist()})
        ends = [*starts[1:], len(row)]
        parts = [
            begun_at(model, start)(row[None, start:end])[0]
            for start, end in zip(starts, ends, strict=True)
        ]
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("switches", COMBINATIONS, ids=words)
def test_logits_and_losses_are_those_of_each_document_by_itself(base, switches):
    model, ids = awake(replace(base, **switches)), ids_with({0, 5, 6}, {3, 11}, set())
    with torch.no_grad():
        together = model(ids)
    wanted = alone(model, ids)
    assert (together - wanted).abs().max() < 1e-10
    targets = ids.roll(-1, dims=1)
    assert (token_losses(together, targets) - token_losses(wanted, targets)).abs().max() < 1e-10
    model.boundary = None
    with torch.no_grad():
        assert (model(ids) - wanted)[:2].abs().max() > 1e-4, "they would see each other else"


CUTS = st.sets(st.integers(0, TIME - 1), max_size=TIME)


@pytest.mark.slow
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(CUTS, min_size=1, max_size=3), window=st.sampled_from([[], [3], [2, 0]]))
def test_it_holds_wherever_documents_are_cut(base, cuts, window):
    model, ids = awake(replace(base, window=window, n_kv_head=2)), ids_with(*cuts)
    with torch.no_grad():
        assert (model(ids) - alone(model, ids)).abs().max() < 1e-10


@pytest.mark.parametrize("window", [None, 5])
def test_dropout_that_draws_its_own_masks_hides_documents_too(window):
    q, k, v = torch.randn(3, 3, 4, 70, 8, dtype=torch.float64).requires_grad_().unbind()
    documents = (torch.rand(3, 70) < 0.1).cumsum(dim=1)
    mask = document_masks(documents, 70, {window}, q.dtype)[window]
    assert makes_own_masks(q)
    one = causal_attention(q, k, v, 1e-9, window, mask)  # which drops nothing
    two = causal_attention(q, k, v, 0.0, window, mask)
    assert torch.allclose(one, two, atol=1e-12)
    slopes = [torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (one, two)]
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*slopes, strict=True))


def test_a_cache_counts_the_documents_that_it_holds(base):
    model = awake(replace(base, window=[4, 0]))
    prompts = [torch.tensor([1, 2, 0, 3, 4]), torch.tensor([0, 5, 6, 7, 0])]
    asked = (model, prompts, 9, TIME, Sampling(1.0, None, 0), 2)
    with_cache = generate(*asked), generate(*asked, end=4)
    model.new_cache = lambda: None  # type: ignore[method-assign]
    assert with_cache == (generate(*asked), generate(*asked, end=4))


def test_what_a_row_keeps_for_its_gradients_is_as_estimated(base, kept_by_autograd):
    for window, masks in (([], 1), ([3, 0], 2), ([3], 1)):
        cfg = replace(base, window=window, n_layer=4, block_size=64)
        assert GPT.saved_by_documents(cfg) == masks * 64
        more = kept_by_autograd(cfg, boundary=BOUNDARY) - kept_by_autograd(cfg)
        banded = 2 * 64 * sum(size == 3 for size in window)  # the masks that windows have anyway
        assert more == pytest.approx(masks * 64, abs=banded + 1)


@pytest.mark.parametrize("recomputes", [False, True])
def test_an_update_in_bfloat16_hides_them_as_one_in_float32(base, recomputes):
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = build_model(base, VOCAB, seed=0)
        model.boundary, model.recomputes = BOUNDARY, recomputes
        update = UpdateStep(
            model, torch.optim.SGD(model.parameters()), Runtime(torch.device("cpu"), dtype), 0.0
        )
        ids = ids_with({2, 7}, {6})
        update.accumulate(Batch(ids, ids.roll(-1, dims=1)), 1, ids.numel())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


def test_the_maps_of_attention_end_where_documents_do(base):
    model, ids = awake(base), ids_with({0, 5}, {3})
    x = torch.randn(2, TIME, 16, dtype=torch.float64)
    weights = model.blocks[0].attention.attention_weights(x, model.documents(ids))
    assert (weights[0, :, 5:, :5] == 0).all() and (weights[1, :, 3:, :3] == 0).all()
    assert (weights[0, :, 5:, 5] > 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(()).double())


@pytest.mark.parametrize("heeds", [True, False])
def test_an_own_model_is_tried_for_what_it_sees(base, heeds):
    model = awake(base)
    if not heeds:
        model.documents = lambda _: None  # type: ignore[method-assign]
    ids = (torch.arange(2 * TIME) % VOCAB).view(2, TIME)
    assert _hides_documents(model, ids) is heeds
