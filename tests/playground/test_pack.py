"""Weights in few bytes."""

import pytest
import torch
from small_runs import only, refusal

from gptexp.models.build import build_model
from gptexp.playground.pack import pack


@pytest.fixture
def model(small):
    return build_model(small().model, 11, seed=0)


def test_float16_takes_two_bytes_a_number_and_keeps_eleven_bits(model):
    packed = pack(model, "float16", "run")
    assert len(packed.data) == 2 * sum(p.numel() for p in model.parameters())
    for before, after in zip(model.parameters(), packed.model.parameters(), strict=True):
        assert torch.equal(before.detach().half().float(), after)


def test_int8_is_off_by_half_a_step_of_its_row(model):
    packed = pack(model, "int8", "run")
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    bytes_ = sum(p.numel() + 4 * len(p) for p in matrices) + 2 * sum(p.numel() for p in vectors)
    assert len(packed.data) == bytes_
    for before, after in zip(model.parameters(), packed.model.parameters(), strict=True):
        if before.ndim == 2:
            step = before.detach().abs().amax(dim=1, keepdim=True) / 127
            assert ((before - after).abs() <= 0.501 * step).all()


def test_the_model_itself_is_left_as_it_was(model):
    before = [p.detach().clone() for p in model.parameters()]
    pack(model, "int8", "run")
    assert all(map(torch.equal, before, model.parameters()))


def test_what_float16_cannot_hold_is_refused_and_int8_holds_it(model):
    with torch.no_grad():
        model.token_table.weight[0, 0] = 1e5
    line = only(refusal(pack, model, "float16", "run").splitlines())
    assert (
        line == "run: weights of token_table.weight have no place in float16. Fix: --weights int8"
    )
    assert pack(model, "int8", "run").model.token_table.weight[0, 0] == 1e5
