"""The weights of a checkpoint are held against its config before memory is taken for a model."""

from dataclasses import replace

import pytest
from small_runs import only, problem_lines

from gptexp.errors import CheckpointError
from gptexp.inference import weights
from gptexp.inference.weights import check_shapes
from gptexp.models.build import build_model


@pytest.fixture
def rope(small):
    """The config of a small model without a table of positions among its weights."""
    return small("model.position=rope").model


def test_a_context_whose_tables_are_larger_than_the_weights_takes_no_memory(rope):
    """As of a file of a few kilobytes whose config was changed by hand."""
    held = build_model(rope, 27, seed=0).state_dict()
    check_shapes(rope, 27, held)
    check_shapes(replace(rope, block_size=2**20), 27, held)
    with pytest.raises(CheckpointError) as refused:
        check_shapes(replace(rope, block_size=10**13), 27, held)
    line = only(problem_lines(refused.value))
    assert "model.block_size: 10000000000000 takes tables of " in line


def test_tables_may_be_as_large_as_the_weights(rope, monkeypatch):
    held = build_model(rope, 27, seed=0).state_dict()
    monkeypatch.setattr(weights, "MOST_TABLES", 0)
    check_shapes(rope, 27, held)
