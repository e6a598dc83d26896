"""What a look inside the model shows, and that looking changes nothing."""

import copy
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from event_files import PNG
from small_runs import ROOT
from torch import nn

from gptexp.inference.probe import LONGEST, TEMPERATURES, Probe, probe_model, visible
from gptexp.models.attention import Attention
from gptexp.models.build import build_model
from gptexp.models.gpt import GPT
from gptexp.tokenizers.build import build_tokenizer
from gptexp.tokenizers.char import CharTokenizer
from gptexp.tracking import pictures

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
            weights = attention.weights(given)
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
    assert set(pictures.draw(seen)) == {"next_token"}


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


def test_a_byte_that_is_no_text_is_shown_by_its_number(composed):
    tokenizer = build_tokenizer(composed("tokenizer=byte").tokenizer, "")
    assert visible(tokenizer, 0xC3) == "<195>"
    assert visible(tokenizer, ord("a")) == "a"
    assert visible(tokenizer, 10) == "↵"
    assert visible(tokenizer, 0) == "<0>"


def insight(heads: int, tokens: list[str], layers: int = 1) -> Probe:
    time = len(tokens)
    maps = [np.full((heads, time, time), 0.5, dtype=np.float32)] * layers
    even = np.full(time, 1 / time, dtype=np.float32)
    return Probe(0, tokens, maps, tokens, dict.fromkeys(TEMPERATURES, even))


@pytest.mark.parametrize("heads", [1, 4, 6])
def test_pictures_are_png_files_with_a_panel_for_each_head(heads):
    drawn = pictures.attention(insight(heads, list("abc")), 0)
    columns, rows = min(heads, pictures.COLUMNS), -(-heads // pictures.COLUMNS)
    side = 3 * pictures.CELL
    assert drawn.width == pictures.LABEL + columns * (side + pictures.GAP)
    assert drawn.height == rows * (side + 2 * pictures.TITLE)
    assert pictures.png(drawn).startswith(PNG)


def test_a_map_is_darker_where_a_head_attends_more():
    seen = insight(2, list("abc"))
    maps = np.zeros((2, 3, 3), np.float32)
    maps[1, 2, 0] = 1.0  # in the second head, the third token attends to the first
    drawn = pictures.attention(replace(seen, attention=[maps]), 0)
    side, half = 3 * pictures.CELL, pictures.CELL // 2
    left, top = pictures.LABEL + side + pictures.GAP + half, pictures.TITLE + half

    def cell(row, column):
        return drawn.getpixel((left + column * pictures.CELL, top + row * pictures.CELL))

    assert cell(2, 0) == pictures.DARK
    assert cell(0, 2) == cell(2, 1) == (255, 255, 255)


def test_bars_are_as_high_as_the_probabilities():
    seen = insight(1, ["a", "b"])
    drawn = pictures.following(replace(seen, following={1.0: np.array([0.25, 0.75], np.float32)}))
    blue = (31, 119, 180)
    heights = [
        max(sum(drawn.getpixel((x, y)) == blue for y in range(drawn.height)) for x in span)
        for span in (range(60, 350), range(400, 600))
    ]
    whole = pictures.HEIGHT - pictures.BOTTOM - pictures.TOP
    assert heights == [pytest.approx(whole, abs=2), pytest.approx(whole / 3, abs=2)]


def test_there_is_a_picture_for_each_layer():
    drawn = pictures.draw(insight(1, ["a", "b"], layers=3))
    layers = [f"attention/layer_{n}" for n in (1, 2, 3)]
    assert list(drawn) == ["next_token", *layers]
    assert all(data.startswith(PNG) for data in drawn.values())


def test_one_token_is_enough_for_pictures():
    assert len(pictures.draw(insight(2, ["a"]))) == 2


@pytest.mark.slow
def test_odd_tokens_are_drawn_without_a_word_on_the_screen():
    """In a process of its own, since warnings that pytest collects would not show."""
    program = (
        "import numpy as np; from gptexp.tracking import pictures\n"
        "from gptexp.inference.probe import Probe\n"
        "odd = ['$x_1$', '$', '$\\\\frac{', '漢', '🙂', '↵', '␣', '<7>', '\\u0301', '{', '_']\n"
        "n = len(odd); maps = [np.ones((2, n, n), np.float32)]\n"
        "drawn = pictures.draw(Probe(0, odd, maps, odd, {1.0: np.ones(n, np.float32)}))\n"
        "assert all(data.startswith(b'\\x89PNG') for data in drawn.values()) and len(drawn) == 2"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_drawing_leaves_other_warnings_alone():
    pictures.draw(insight(1, ["漢"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("another one", UserWarning, stacklevel=1)
    assert len(caught) == 1
