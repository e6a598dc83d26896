"""What a look inside the model shows, and that looking changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gptexp.inference.probe import LONGEST, TEMPERATURES, probe_model, visible
from gptexp.models.attention import Attention
from gptexp.models.build import build_model
from gptexp.models.gpt import GPT
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

ODD = "ab \n$x_1$漢🙂\x07"


@pytest.fixture
def network(composed) -> GPT:
    config = composed(
        "model.n_layer=2", "model.n_head=3", "model.n_embd=24", "model.block_size=48"
    ).model
    config.dropout = 0.1
    built = build_model(config, len(set(ODD)), 0)
    with torch.no_grad():  # away from the flat attention of fresh weights
        for parameter in built.parameters():
            parameter.mul_(8.0)
    return built


def test_the_weights_are_those_that_the_fused_kernel_used(network):
    network.eval().double()  # so that a mistake shows beside rounding
    seen: list[tuple[Attention, torch.Tensor, torch.Tensor]] = []
    for module in network.modules():
        if isinstance(module, Attention):
            module.proj.register_forward_pre_hook(
                lambda _, given, owner=module: seen.append((owner, inputs[owner], given[0]))
            )
            module.register_forward_pre_hook(
                lambda owner, given: inputs.__setitem__(owner, given[0])
            )
    inputs: dict[Attention, torch.Tensor] = {}
    with torch.no_grad():
        network(torch.randint(0, 8, (2, 20), generator=torch.Generator().manual_seed(0)))
        assert len(seen) == 2
        for attention, given, before_projection in seen:
            weights = attention.attention_weights(given)
            assert weights.shape == (2, 3, 20, 20)
            mixed = weights @ attention.heads(given)[2]
            again = mixed.transpose(1, 2).reshape(given.shape)
            assert torch.allclose(again, before_projection, atol=1e-9)
            assert torch.allclose(weights.sum(-1), torch.ones(()).double(), atol=1e-9)
            assert (weights.triu(1) == 0).all(), "nobody attends to what comes later"
            assert weights.std() > 0.05, "flat maps would hide a mistake"


@pytest.mark.parametrize("training", [True, False])
def test_R3_a_look_changes_nothing(network, training):
    network.train(training)
    state = copy.deepcopy(network.state_dict())
    modes = {name: part.training for name, part in network.named_modules()}
    generator = torch.get_rng_state()
    probe_model(network, CharTokenizer.of(ODD), torch.arange(8), step=1)
    assert torch.equal(torch.get_rng_state(), generator)
    assert {name: part.training for name, part in network.named_modules()} == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_pre_hooks for part in network.modules())


def test_R3_a_look_that_fails_leaves_mode_and_hooks_as_they_were(network):
    network.train()
    with pytest.raises(IndexError):
        probe_model(network, CharTokenizer.of(ODD), torch.tensor([10_000]), step=1)
    assert network.training
    assert not any(part._forward_pre_hooks for part in network.modules())


def test_what_follows_is_the_softmax_of_the_logits_over_each_temperature(network):
    ids = torch.arange(8)
    seen = probe_model(network, CharTokenizer.of(ODD), ids, step=7)
    network.eval()
    with torch.no_grad():
        logits = network(ids[None])[0, -1]
    assert tuple(seen.following) == TEMPERATURES == (0.5, 1.0, 2.0)
    for temperature, probabilities in seen.following.items():
        wanted = torch.softmax(logits / temperature, dim=-1).numpy()
        assert np.allclose(probabilities, wanted, atol=1e-6)
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert seen.following[0.5].max() > seen.following[2.0].max()
    assert seen.step == 7
    assert [part.shape for part in seen.attention] == [(3, 8, 8)] * 2
    for part, module in zip(seen.attention, network.blocks, strict=True):
        assert np.allclose(part.sum(-1), 1.0, atol=1e-5), module


def test_a_look_reads_no_more_than_a_picture_has_room_for(network):
    ids = torch.arange(40) % 8
    seen = probe_model(network, CharTokenizer.of(ODD), ids, step=0)
    assert len(seen.tokens) == LONGEST
    assert seen.attention[0].shape == (3, LONGEST, LONGEST)


def test_a_network_without_attention_gives_no_maps():
    class Bigram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(len(set(ODD)), len(set(ODD)))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.table(ids)

    seen = probe_model(Bigram(), CharTokenizer.of(ODD), torch.arange(3), step=0)
    assert seen.attention == [] and len(seen.vocabulary) == len(set(ODD))


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\n", "↵"),
        (" ", "␣"),
        ("\t", "⇥"),
        ("a", "a"),
        ("$", "$"),
        ("漢", "漢"),
        ("🙂", "🙂"),
        ("\x07", "<0>"),
        ("\r", "<0>"),
        ("\u2028", "<0>"),
        ("\ufffd", "<0>"),
    ],
)
def test_every_token_is_visible(character, shown):
    assert visible(CharTokenizer.of(character), 0) == shown


def test_a_byte_that_is_no_text_is_shown_by_its_number():
    tokenizer = ByteTokenizer()
    assert visible(tokenizer, 0xC3) == "<195>"
    assert visible(tokenizer, ord("a")) == "a"
    assert visible(tokenizer, 10) == "↵"
    assert visible(tokenizer, 0) == "<0>"
