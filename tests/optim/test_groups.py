"""Which parameter is what, and the groups that optimizers take."""

from collections.abc import Callable

import pytest
import torch

from gptexp.config import Config
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer
from gptexp.optim.groups import Role, parameter_groups, roles, rows_of_matrices

FUSED = ("attention.qkv", "mlp.up", "mlp.proj")


def test_groups_partition_the_parameters_and_vectors_are_not_decayed(
    small: Callable[..., Config],
):
    network = build_model(small().model, 30, seed=0)
    groups = parameter_groups(network.parameters(), 0.1, {})
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())
    decayed = {id(p) for p in groups[0]["params"]}
    for name, parameter in network.named_parameters():
        is_matrix = name.endswith("weight") and "norm" not in name
        assert (id(parameter) in decayed) == is_matrix, name
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert not any("lr_scale" in group for group in groups)


@pytest.mark.parametrize("tied", [False, True])
def test_tables_matrices_and_the_head_are_told_apart(small: Callable[..., Config], tied: bool):
    config = small(f"model.tie_head={str(tied).lower()}")
    network = build_model(config.model, 30, seed=0)
    played = {name: roles(network)[parameter] for name, parameter in network.named_parameters()}
    tables = {"token_table.weight", "position_table.weight"}
    for name, role in played.items():
        if name in tables:
            assert role is Role.table
        elif name == "head.weight":
            assert role is Role.head and not tied
        else:
            is_matrix = network.get_parameter(name).ndim == 2
            assert role is (Role.matrix if is_matrix else Role.vector), name


def test_queries_keys_and_values_and_a_gate_are_as_large_as_their_modules_say(
    small: Callable[..., Config],
):
    words = ["model.n_kv_head=1", "model.activation=swiglu", "model.mlp_width=24"]
    network = build_model(small(*words).model, 30, seed=0)
    rows = rows_of_matrices(network)
    sizes = [rows[network.get_parameter(f"blocks.0.{name}.weight")] for name in FUSED]
    assert sizes == [[16, 8, 8], [24, 24], [16]]
    assert list(rows) == [p for p, role in roles(network).items() if role is Role.matrix]


@pytest.mark.parametrize(
    "words",
    [
        *(["optim=adamw"], ["optim=adam"], ["optim=sgd"], ["optim=muon"]),
        ["optim=muon", "optim.adam_lr=0.5", "optim.scaling=mup", "optim.base_width=8"],
        ["optim=adamw", "optim.scaling=mup", "optim.cautious_decay=true"],
    ],
    ids=" ".join,
)
def test_each_optimizer_has_each_parameter_once(small: Callable[..., Config], words: list[str]):
    config = small(*words)
    network = build_model(config.model, 30, seed=0)
    optimizer = build_optimizer(config.optim, network)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, network.parameters()))


def test_muon_of_a_model_without_hidden_matrices_is_adamw(small: Callable[..., Config]):
    network = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.LayerNorm(4))
    assert type(build_optimizer(small("optim=muon").optim, network)) is torch.optim.AdamW
