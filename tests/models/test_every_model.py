"""What every model keeps to, whatever its kind."""

import pytest

from gptexp.models.bigram import Bigram
from gptexp.models.build import build_model
from gptexp.models.counts import count_parameters, without_tables

KINDS = ["model=bigram", "model=mlp", "model=mlp model.context=5", "model=micro"]
KINDS += ["model=laptop", "model=laptop model.tie_head=false", "model=modern_laptop"]


@pytest.mark.parametrize("vocab_size", [2, 27, 256])
@pytest.mark.parametrize("words", KINDS)
def test_every_variant_has_as_many_parameters_as_its_config_says(composed, words, vocab_size):
    cfg = composed(*words.split()).model
    network = build_model(cfg, vocab_size, seed=0)
    counts = count_parameters(cfg, vocab_size)
    assert sum(counts.values()) == sum(p.numel() for p in network.parameters())
    components = network.components()
    assert {name: sum(p.numel() for p in found) for name, found in components.items()} == {
        name: count for name, count in counts.items() if count
    }
    assert without_tables(counts) < sum(counts.values()) or words == "model=bigram"
    assert isinstance(network, Bigram) == (words == "model=bigram")
